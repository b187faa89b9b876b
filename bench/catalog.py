"""How quickly the catalog answers with 1,000 jobs, 5,000 VMs and 200,000 runs on SQLite: milliseconds, medians of 7."""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vbm.catalog.catalog import Catalog
from vbm.catalog.jobs import JobRecord, all_jobs, due_jobs, insert_job
from vbm.catalog.repositories import KeyKind, RepositoryRecord, insert_repository
from vbm.catalog.restore_points import PointRow
from vbm.catalog.runs import RunFilter, RunRecord, RunRow, insert_runs, list_runs, live_runs
from vbm.catalog.totals import count_run
from vbm.catalog.vcenters import VcenterRecord, insert_vcenter
from vbm.clock import SystemClock
from vbm.policy.job import Job
from vbm.services import metrics
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.web.metrics_text import exposition

JOBS, RUNS, VMS, POINTS = 1_000, 200_000, 5_000, 100_000
START = datetime(2026, 1, 1, tzinfo=UTC)


def fill(catalog: Catalog) -> None:
    document = Job.from_document(
        {"name": "j", "vcenter_id": "v", "repository_id": "r", "selection": {"vms": ["web*"]}}
    ).to_document()
    chance = random.Random(1)
    with catalog.writing() as session:
        insert_vcenter(session, VcenterRecord("v", "main", "h", 443, "u", "", "", "", "", START, ""))
        repository = RepositoryRecord("r", "store", "file:///s", "", KeyKind.NONE, "", 1 << 20, "fast", START)
        insert_repository(session, repository)
        for n in range(JOBS):
            moment = START + timedelta(minutes=n)
            insert_job(
                session,
                JobRecord(
                    f"j{n}", f"job {n}", True, "v", "r", document, START, START, START, next_run=moment
                ),
            )
    for first in range(0, RUNS, 10_000):
        with catalog.writing() as session:
            insert_runs(session, (one(n, document, chance) for n in range(first, first + 10_000)))
    last = RUNS - VMS - 20
    with catalog.writing() as session:
        for n in range(last, RUNS - 20):
            count_run(session, session.get_one(RunRow, one(n, document, chance).id))
        session.add_all(point(n) for n in range(POINTS))


def point(number: int) -> PointRow:
    moment = START + timedelta(minutes=number)
    return PointRow(
        repository_id="r",
        id=f"{moment:%Y%m%dT%H%M%S}000-{number:010x}",
        vm_uuid=f"00000000-0000-0000-0000-{number % VMS:012x}",
        vm_name=f"vm{number % VMS}",
        vcenter="main",
        started=moment,
        finished=moment,
        read_mode="incremental",
        consistency="crash",
        size_bytes=1 << 36,
        new_bytes=1 << 28,
        job_id=f"j{number % JOBS}",
        run_id="",
        pinned=False,
        verified_mode="",
    )


def one(number: int, document: dict[str, object], chance: random.Random) -> RunRecord:
    created = START + timedelta(seconds=number * 60)
    return RunRecord(
        id=f"{created:%Y%m%dT%H%M%S}000-{number:010x}",
        execution_id=f"e{number // 200}",
        job_id=f"j{number % JOBS}",
        job_name=f"job {number % JOBS}",
        vm_uuid=f"00000000-0000-0000-0000-{number % VMS:012x}",
        vm_name=f"vm{number % VMS}",
        vcenter_id="v",
        repository_id="r",
        datastores=("ds",),
        document=document,
        created=created,
        started=created,
        finished=created,
        result={
            "bytes_read": 1 << 30,
            "bytes_changed": 1 << 29,
            "bytes_new": 1 << 28,
            "capacity_bytes": 1 << 36,
        },
        state="queued"
        if number >= RUNS - 20
        else chance.choice(("succeeded", "succeeded", "warning", "failed")),
    )


def median_ms(call: Callable[[], object]) -> float:
    clock = SystemClock()
    times = []
    for _ in range(7):
        begun = clock.monotonic()
        call()
        times.append((clock.monotonic() - begun) * 1000)
    return round(statistics.median(times), 1)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Catalog.open(f"sqlite:///{Path(folder)}/vbm.db") as catalog:
        fill(catalog)
        middle = f"{START + timedelta(days=70):%Y%m%dT%H%M%S}"

        def asked(query: Callable[..., object], *arguments: object) -> Callable[[], object]:
            def call() -> object:
                with catalog.reading() as session:
                    return query(session, *arguments)

            return call

        found: dict[str, Callable[[], object]] = {
            "job list (1,000)": asked(all_jobs),
            "next runs due": asked(due_jobs, START + timedelta(minutes=10)),
            "run history, first page": asked(list_runs, RunFilter(limit=100)),
            "run history, a page in the middle": asked(list_runs, RunFilter(limit=100, before=middle)),
            "runs of one job": asked(list_runs, RunFilter(job_id="j7", limit=100)),
            "failed runs": asked(list_runs, RunFilter(states=("failed",), limit=100)),
            "runs of one VM": asked(list_runs, RunFilter(vm=f"00000000-0000-0000-0000-{77:012x}", limit=100)),
            "runs of one VM by name": asked(list_runs, RunFilter(vm="vm77", limit=100)),
            "queue": asked(live_runs),
        }
        space = Workspace(Settings(Path(folder), f"sqlite:///{Path(folder)}/vbm.db"))
        found["metrics: figures"] = lambda: metrics.gather(space)
        found["metrics: the whole scrape, not kept"] = lambda: exposition(metrics.gather(space))
        results: dict[str, float] = {name: median_ms(call) for name, call in found.items()}
        text = exposition(metrics.gather(space))
        results |= {"metrics: series": text.count(b"\n"), "metrics: bytes": len(text)}
        space.close()
        sys.stdout.write(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
