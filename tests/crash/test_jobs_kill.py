"""kill -9 of the worker at every journalled step of a run: the next worker ends it well, and nothing is left."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures_jobs import MIB, JobsRig
from fixtures_postgresql import postgresql
from vbm.catalog.totals import all_totals
from vbm.services import jobs

SIZE = 4 * MIB
STEPS = ("prepare", "snapshot", "read", "record", "cleanup", "verify-new", "retention", "finish")
PHASES = ("connecting", "snapshot", "downloading", "compressing", "committing", "cleanup")
POINTS = [
    *(f"{step}.{edge}" for step in STEPS for edge in ("begin", "end")),
    *(f"phase.{phase}" for phase in PHASES),
    *("taken", "advance"),
]
WORST = ["taken", "snapshot.end", "advance", "read.end", "cleanup.begin", "verify-new.end", "finish.end"]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JobsRig]:
    made = JobsRig(tmp_path)
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobsRig]:
    """The same on SQLite, and on PostgreSQL, where a dead worker's runs are taken over after its time to live."""
    if request.param == "sqlite":
        yield request.getfixturevalue("rig")
        return
    with postgresql() as server:
        server.run("createdb", "-h", server.folder, "-U", "vbm", "kills")
        made = JobsRig(tmp_path, server.url.format("kills"))
        yield made
        made.close()


def survives(rig: JobsRig, vm: str, point: str, delay_seconds: float = 0) -> None:
    machine = rig.machine(vm, SIZE)
    rig.job(vm, selection={"vms": [vm]}, retention={"keep_last": 3}, verify="quick")
    expected = machine.guest_read(0, 0, SIZE)
    before, known = len(rig.points()), len(rig.runs())
    jobs.run_now(rig.workspace, vm)
    child = rig.worker(f"kill={point}", f"delay={delay_seconds}", "ttl=4", ready=False)
    child.wait(60)
    assert child.returncode == -9, rig.log()
    second = rig.worker("ttl=4")
    run = rig.ended(known + 1)[0]
    rig.stop(second)
    assert second.returncode == 0
    assert (run.vm_name, run.state, run.snapshot_state) == (vm, "succeeded", "removed"), (
        point,
        run,
        rig.log(),
    )
    assert rig.ours() == [], point
    points = rig.points()
    assert len(points) == before + 1, point
    newest = max(points, key=lambda p: p.started)
    assert newest.restore_point_id == run.restore_point_id
    assert rig.stored(newest) == expected, point
    with rig.workspace.catalog.reading() as session:
        counted = [
            (t.succeeded, t.failed) for t in all_totals(session) if (t.kind, t.vm_name) == ("backup", vm)
        ]
    assert counted == [(1, {})], point


@pytest.mark.parametrize("point", WORST)
def test_a_worker_killed_where_it_matters_most(rig: JobsRig, point: str) -> None:
    survives(rig, "vm", point)


@pytest.mark.soak
def test_a_worker_killed_at_every_named_point(either: JobsRig) -> None:
    for number, point in enumerate(POINTS):
        survives(either, f"vm{number}", point)


@pytest.mark.soak
def test_a_worker_killed_at_fifty_random_moments(either: JobsRig) -> None:
    """From the first step on; a run of this size takes about a second, so some kills find it just ended."""
    chance = random.Random(5)
    for number in range(50):
        survives(either, f"vm{number}", "prepare.begin", chance.uniform(0.001, 1.2))
