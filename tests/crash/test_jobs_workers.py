"""Several workers on one PostgreSQL database: killed, frozen and thawed, the database gone for a while."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures_jobs import MIB, JobsRig
from fixtures_postgresql import Server, postgresql
from vbm.catalog.preferences import set_preference
from vbm.catalog.runs import ENDED
from vbm.services import jobs, working


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgresql() as running:
        yield running


@pytest.fixture
def rig(server: Server, tmp_path: Path) -> Iterator[JobsRig]:
    name = f"vbm_{tmp_path.parent.name}_{tmp_path.name}".lower().replace("-", "_")[-60:]
    server.run("createdb", "-h", server.folder, "-U", "vbm", name)
    made = JobsRig(tmp_path, server.url.format(name))
    yield made
    made.close()


def test_a_killed_and_a_frozen_worker_lose_no_run(rig: JobsRig, server: Server) -> None:
    machines = {f"vm{n}": rig.machine(f"vm{n}", 12 * MIB) for n in range(6)}
    expected = {name: machine.guest_read(0, 0, 12 * MIB) for name, machine in machines.items()}
    rig.job(limits={"bytes_per_second": 2 * MIB, "parallel_vms": 6})
    with rig.workspace.catalog.writing() as session:
        for limit in ("max_runs_per_vcenter", "max_runs_per_datastore"):
            set_preference(session, limit, 0)  # else one worker may take all that may run
    workers = [rig.worker(f"name=w{n}", "ttl=4", "slots=2") for n in range(3)]
    jobs.run_now(rig.workspace, "nightly")
    rig.until(
        lambda: len({run.worker_id for run in rig.runs() if run.state == "running" and run.bytes_done}) == 3,
        "all workers read",
    )
    workers[0].kill()
    workers[1].send_signal(signal.SIGSTOP)
    rig.until(
        lambda: {w.name for w in working.workers(rig.workspace) if w.dead} == {"w0", "w1"},
        "both were found out",
    )
    workers[1].send_signal(signal.SIGCONT)
    most = 0

    def ended() -> bool:
        nonlocal most
        found = rig.runs()
        most = max(most, sum(run.state == "running" for run in found))
        return len(found) == 6 and all(run.state in ENDED for run in found)

    rig.until(ended, "all runs ended", 150)
    assert {run.state for run in rig.runs()} <= {"succeeded", "warning"}, rig.runs()
    assert {run.snapshot_state for run in rig.runs()} == {"removed"}
    assert rig.ours() == []
    assert most <= 4
    assert workers[1].wait(30) == 75
    points = rig.points()
    assert len(points) == 6
    for point in points:
        assert rig.stored(point) == expected[point.vm_name]
    jobs.run_now(rig.workspace, "nightly")
    rig.until(lambda: any(run.phase == "downloading" for run in rig.runs()), "it reads again")
    server.stop()
    server.start()
    rig.until(lambda: _answers(rig), "the database answers again")
    rig.ended(12, 150)
    assert workers[2].poll() is None
    assert {run.state for run in rig.runs()[:6]} == {"succeeded"}, rig.runs()[:6]
    rig.stop(workers[2])
    assert workers[2].returncode == 0


def _answers(rig: JobsRig) -> bool:
    try:
        return bool(rig.runs())
    except Exception:  # noqa: BLE001 - until it does
        return False


def test_a_run_killed_on_one_machine_is_gone_on_with_by_another_without_its_files(
    rig: JobsRig, tmp_path: Path
) -> None:
    machine = rig.machine("web01", 8 * MIB)
    expected = machine.guest_read(0, 0, 8 * MIB)
    rig.job()
    jobs.run_now(rig.workspace, "nightly")
    first = rig.worker("name=one", "kill=advance", ready=False)
    first.wait(60)
    elsewhere = tmp_path / "other-home"
    elsewhere.mkdir()
    (elsewhere / "master.key").write_bytes((rig.home / "master.key").read_bytes())
    (elsewhere / "master.key").chmod(0o600)
    rig.environment["VBM_HOME"] = str(elsewhere)
    second = rig.worker("name=two", "ttl=3")
    (run,) = rig.ended(1)[:1]
    assert (run.state, run.snapshot_state) == ("succeeded", "removed"), run
    assert rig.ours() == []
    assert rig.stored(rig.points()[-1]) == expected
    rig.stop(second)
