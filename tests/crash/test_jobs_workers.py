"""A run of one machine is gone on with by another, on one PostgreSQL database and without the files of the first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures_jobs import MIB, JobsRig
from fixtures_postgresql import Server, postgresql
from vbm.catalog.errors import CatalogError
from vbm.catalog.runs import ENDED
from vbm.services import jobs
from vbm.workflows.live import FENCED_EXIT


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


def test_a_run_taken_when_the_database_goes_is_not_forgotten(
    rig: JobsRig, server: Server, tmp_path: Path
) -> None:
    """It belongs to a living worker that could neither begin it nor give it back."""
    rig.machine("web01", MIB)
    rig.job()
    go = tmp_path / "go"
    worker = rig.worker("hold=taken", f"until={go}")
    jobs.run_now(rig.workspace, "nightly")
    rig.until(go.with_suffix(".held").exists, "it is taken")
    server.stop()
    go.touch()
    rig.until(lambda: "no run can be taken now" in rig.log(), "it could not be begun")
    server.start()
    rig.until(lambda: _all_ended(rig), "the run has ended")
    (run,) = rig.runs()
    assert (run.state, run.snapshot_state) == ("succeeded", "removed"), run
    rig.stop(worker)


def test_a_worker_that_freezes_while_it_decides_does_not_hold_up_the_others(
    rig: JobsRig, tmp_path: Path
) -> None:
    """The lock under which it decides goes with its transaction, after a pause that the database allows none."""
    rig.environment["VBM_DATABASE_URL"] += "&options=-c%20idle_in_transaction_session_timeout%3D2s"
    rig.machine("web01", MIB)
    rig.job()
    frozen = rig.worker("name=one", "ttl=3", "hold=taking", f"until={tmp_path / 'never'}")
    rig.until((tmp_path / "never.held").exists, "it decides")
    frozen.send_signal(signal.SIGSTOP)
    other = rig.worker("name=two", "ttl=3")
    jobs.run_now(rig.workspace, "nightly")
    (run,) = rig.ended(1)
    assert (run.state, run.snapshot_state) == ("succeeded", "removed"), run
    (tmp_path / "never").touch()
    frozen.send_signal(signal.SIGCONT)
    assert frozen.wait(30) == FENCED_EXIT
    rig.stop(other)


def _all_ended(rig: JobsRig) -> bool:
    try:
        return all(run.state in ENDED for run in rig.runs())
    except CatalogError:  # the connections of before
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
