"""Jobs end to end: a worker process, the lab, and what people see of it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from fixtures_jobs import MIB, JobsRig
from vbm.catalog.runs import ENDED
from vbm.engine.vm_lock import vm_lock
from vbm.ids import VmUuid
from vbm.services import jobs, runs


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JobsRig]:
    made = JobsRig(tmp_path)
    yield made
    made.close()


def test_a_job_backs_up_each_of_its_vms_once(rig: JobsRig) -> None:
    machines = {name: rig.machine(name) for name in ("web01", "web02", "db01")}
    rig.job(selection={"vms": ["web*"]})
    child = rig.worker()
    jobs.run_now(rig.workspace, "nightly")
    ended = rig.ended(2)
    assert {run.vm_name for run in ended} == {"web01", "web02"}
    assert {run.state for run in ended} == {"succeeded"}, ended
    assert {run.snapshot_state for run in ended} == {"removed"}
    assert rig.ours() == []
    points = rig.points()
    assert {p.restore_point_id for p in points} == {run.restore_point_id for run in ended}
    for point in points:
        assert rig.stored(point) == machines[point.vm_name].guest_read(0, 0, 4 << 20)
    assert jobs.get(rig.workspace, "nightly").last_state == "succeeded"
    rig.stop(child)
    assert child.returncode == 0
    assert records(rig) == 2
    forget = (
        "import sys; from datetime import UTC, datetime; from vbm.settings import Settings;"
        "from vbm.workflows.runtime import Runtime;"
        "runtime = Runtime.start(Settings.from_environment(), 'pruning');"
        "runtime.forget(datetime.fromisoformat(sys.argv[1])); runtime.stop()"
    )
    for moment, left in (("2026-01-01T00:00:00+00:00", 2), ("2126-01-01T00:00:00+00:00", 0)):
        subprocess.run([sys.executable, "-c", forget, moment], env=rig.environment, check=True)
        assert records(rig) == left


def records(rig: JobsRig) -> int:
    """How many workflows DBOS remembers."""
    with closing(sqlite3.connect(rig.home / "workflows.db")) as database:
        return int(database.execute("SELECT count(*) FROM workflow_status").fetchone()[0])


def test_a_run_is_cancelled_while_it_reads_and_its_snapshot_is_gone(rig: JobsRig) -> None:
    rig.machine("web01", 48 * MIB)
    rig.job(limits={"bytes_per_second": MIB})
    child = rig.worker()
    jobs.run_now(rig.workspace, "nightly")
    rig.until(lambda: any(run.phase == "downloading" for run in rig.runs()), "it reads")
    runs.cancel(rig.workspace, rig.runs()[0].id)
    (run,) = rig.ended(1, 15)
    assert (run.state, run.error_code, run.snapshot_state) == ("cancelled", "cancelled", "removed")
    assert rig.ours() == []
    assert rig.points() == []
    rig.stop(child)


def test_a_run_past_its_deadline_fails_and_its_snapshot_is_gone(rig: JobsRig) -> None:
    rig.machine("web01", 48 * MIB)
    rig.job(limits={"bytes_per_second": MIB}, deadline_seconds=3)
    child = rig.worker()
    jobs.run_now(rig.workspace, "nightly")
    (run,) = rig.ended(1, 30)
    assert (run.state, run.error_code, run.snapshot_state) == ("failed", "deadline-exceeded", "removed")
    assert rig.ours() == []
    rig.stop(child)


def test_a_stopped_worker_hands_its_run_back_and_the_next_goes_on_with_it(rig: JobsRig) -> None:
    machine = rig.machine("web01", 8 * MIB)
    expected = machine.guest_read(0, 0, 8 * MIB)
    rig.job(limits={"bytes_per_second": MIB})
    child = rig.worker("drain=0")
    jobs.run_now(rig.workspace, "nightly")
    rig.until(lambda: any(run.bytes_done for run in rig.runs()), "it reads")
    rig.stop(child)
    assert child.returncode == 0
    assert [run.state for run in rig.runs()] == ["queued"]
    assert len(rig.ours()) == 1
    second = rig.worker()
    (run,) = rig.ended(1)
    assert (run.state, run.snapshot_state) == ("succeeded", "removed")
    (point,) = rig.points()
    assert rig.stored(point) == expected
    rig.stop(second)


def test_no_limit_is_exceeded_and_every_vm_has_its_turn(rig: JobsRig) -> None:
    for number in range(5):
        rig.machine(f"vm{number}", MIB)
    rig.job(limits={"parallel_vms": 2})
    child = rig.worker()
    jobs.run_now(rig.workspace, "nightly")
    most = 0

    def ended() -> bool:
        nonlocal most
        found = rig.runs()
        most = max(most, sum(run.state == "running" for run in found))
        return len(found) == 5 and all(run.state in ENDED for run in found)

    rig.until(ended, "all ended")
    assert most == 2
    assert {run.state for run in rig.runs()} == {"succeeded"}
    rig.stop(child)


def test_retention_runs_after_a_backup_that_succeeded(rig: JobsRig) -> None:
    rig.machine("web01", MIB)
    rig.job(retention={"keep_last": 2})
    child = rig.worker()
    for count in range(1, 5):
        jobs.run_now(rig.workspace, "nightly")
        rig.ended(count)
    kept = [p.restore_point_id for p in rig.points()]
    assert kept == [run.restore_point_id for run in rig.runs()[:2]][::-1]
    plans = jobs.retention(rig.workspace, "nightly")
    assert [plan.drop for _, plan in plans.values()] == [()]
    rig.stop(child)


def test_a_run_that_fails_for_a_while_is_tried_again(rig: JobsRig) -> None:
    machine = rig.machine("web01", MIB)
    rig.job(retries={"attempts": 50, "wait_seconds": 1})
    child = rig.worker()
    with vm_lock(rig.home, VmUuid(machine.instance_uuid), "web01"):
        jobs.run_now(rig.workspace, "nightly")
        rig.until(lambda: any(run.attempts > 1 for run in rig.runs()), "a second attempt")
        rig.until(
            lambda: any((run.phase, run.error_code) == ("waiting", "vm-in-use") for run in rig.runs()),
            "it waits and says why",
        )
    (run,) = rig.ended(1)
    assert (run.state, run.error_code) == ("succeeded", ""), run
    assert rig.ours() == []
    rig.stop(child)


def test_a_run_waits_for_its_window_to_open(rig: JobsRig) -> None:
    rig.machine("web01", MIB)
    closed = (rig.workspace.clock.now() + timedelta(hours=2)).strftime("%H:%M")
    later = (rig.workspace.clock.now() + timedelta(hours=3)).strftime("%H:%M")
    rig.job(schedule={"window": f"{closed}-{later}"})
    child = rig.worker()
    jobs.run_now(rig.workspace, "nightly")
    rig.until(lambda: len(rig.runs()) == 1, "it is queued")
    (run,) = rig.runs()
    assert run.state == "queued"
    runs.cancel(rig.workspace, run.id)
    assert rig.ended(1)[0].state == "cancelled"
    rig.stop(child)
