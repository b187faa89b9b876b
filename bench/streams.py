"""What 100 open live streams cost one idle server: prints percent of a core, of runs in which nothing happens.

Once with all streams on one run, once with each on a run of its own. ``--streams N``, ``--seconds S``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from vbm.catalog.runs import RunRecord, insert_runs
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


async def listen(client: httpx.AsyncClient, url: str, opened: asyncio.Semaphore) -> None:
    async with client.stream("GET", url) as stream:
        first = True
        async for _ in stream.aiter_lines():
            if first:
                opened.release()
            first = False


async def cost(server: psutil.Process, urls: list[str], key: str, seconds: float) -> float:
    """Percent of a core while all streams are open and nothing happens."""
    opened = asyncio.Semaphore(0)
    limits = httpx.Limits(max_connections=len(urls))
    async with httpx.AsyncClient(headers={"x-api-key": key}, limits=limits, timeout=None) as client:
        streams = [asyncio.create_task(listen(client, url, opened)) for url in urls]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with Workspace(Settings(home, f"sqlite:///{home}/vbm.db")) as space:
            ids = waiting_runs(space, wanted.streams)
            _, key = api_keys.create(space, NewApiKey("bench", Role.VIEWER))
        with served(home) as (server, url):
            paths = [f"{url}/api/v1/runs/{run}/events" for run in ids]
            found = {
                "streams": wanted.streams,
                "percent of a core, none": asyncio.run(cost(server, [], key, wanted.seconds)),
                "percent of a core, all on one run": asyncio.run(
                    cost(server, paths[:1] * wanted.streams, key, wanted.seconds)
                ),
                "percent of a core, each on its own": asyncio.run(cost(server, paths, key, wanted.seconds)),
            }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
