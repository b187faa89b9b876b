"""What 100 open live streams cost one idle server: prints percent of a core, of runs in which nothing happens.

Once with all streams on one run, once with each on a run of its own; then of the dashboard's stream: all of one
who may see everything, and each of somebody who may see another vCenter. Last of the dashboard's stream while a run
goes on. ``--streams N``, ``--seconds S``.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from vbm.catalog.runs import RunRecord, change_run, insert_runs
from vbm.catalog.vcenters import VcenterRecord, insert_vcenter
from vbm.ids import new_id
from vbm.security.roles import Role
from vbm.services import api_keys
from vbm.services.api_keys import NewApiKey
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.workflows.orders import document_of


@contextmanager
def served(home: Path) -> Iterator[tuple[psutil.Process, str]]:
    """(the server, its address)."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vbm", "serve", "--port", "0", "--no-worker"],
        env=os.environ | {"VBM_HOME": str(home), "VBM_DATABASE_URL": ""},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        ready = next(line for line in process.stderr if line.startswith("Ready at "))
        yield psutil.Process(process.pid), re.split(r"\s+", ready)[2]
    finally:
        process.terminate()
        process.wait(20)


def waiting_runs(space: Workspace, count: int) -> list[str]:
    now = space.clock.now()
    ids = [new_id(now) for _ in range(count)]
    made = [
        RunRecord(run, "", "", "", "u", "web01", "v", "r", (), document_of("verify"), now, kind="verify")
        for run in ids
    ]
    with space.catalog.writing() as session:
        insert_runs(session, made)
    return ids


async def listen(client: httpx.AsyncClient, url: str, key: str, opened: asyncio.Semaphore) -> None:
    async with client.stream("GET", url, headers={"x-api-key": key}) as stream:
        first = True
        async for _ in stream.aiter_lines():
            if first:
                opened.release()
            first = False


async def cost(server: psutil.Process, urls: list[str], keys: list[str], seconds: float) -> float:
    """Percent of a core while all streams are open."""
    opened = asyncio.Semaphore(0)
    limits = httpx.Limits(max_connections=len(urls))
    async with httpx.AsyncClient(limits=limits, timeout=None) as client:
        streams = [
            asyncio.create_task(listen(client, url, key, opened))
            for url, key in zip(urls, itertools.cycle(keys), strict=False)
        ]
        for _ in urls:
            await asyncio.wait_for(opened.acquire(), 60)
        await asyncio.sleep(2)
        before = server.cpu_times()
        await asyncio.sleep(seconds)
        after = server.cpu_times()
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
    return round(100 * (after.user + after.system - before.user - before.system) / seconds, 1)


@contextmanager
def going_on(space: Workspace, run: str) -> Iterator[None]:
    """The run goes on by a little, twice a second."""
    over = threading.Event()

    def work() -> None:
        done = 0
        while not over.wait(0.5):
            done += 1
            with space.catalog.writing() as session:
                change_run(session, run, 0, {"bytes_done": done})

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def viewers(space: Workspace, count: int) -> list[str]:
    """A key for each of so many who may see one vCenter each."""
    now = space.clock.now()
    made = []
    for number in range(count):
        name = f"vc{number}"
        record = VcenterRecord(
            name, name, "127.0.0.1", 1, "u", "00" * 32, "", "", "", now, sealed_password=""
        )
        with space.catalog.writing() as session:
            insert_vcenter(session, record)
        made.append(api_keys.create(space, NewApiKey(name, Role.VIEWER, None, (name,)))[1])
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20)
    wanted = parser.parse_args()
    count, found = wanted.streams, {"streams": wanted.streams}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with Workspace(Settings(home, f"sqlite:///{home}/vbm.db")) as space, served(home) as (server, url):
            ids = waiting_runs(space, count)
            all_seeing = [api_keys.create(space, NewApiKey("bench", Role.VIEWER))[1]]
            limited = viewers(space, count)

            def measure(what: str, urls: list[str], keys: list[str]) -> None:
                found[f"percent of a core, {what}"] = asyncio.run(cost(server, urls, keys, wanted.seconds))

            runs = [f"{url}/api/v1/runs/{run}/events" for run in ids]
            dashboards = [f"{url}/api/v1/events"] * count
            measure("none", [], all_seeing)
            measure("all on one run", runs[:1] * count, all_seeing)
            measure("each on its own", runs, all_seeing)
            measure("dashboards", dashboards, all_seeing)
            measure("dashboards, each limited to another vCenter", dashboards, limited)
            with going_on(space, ids[0]):
                measure("dashboards while a run goes on", dashboards, all_seeing)
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
