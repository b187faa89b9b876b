"""A run of one machine is gone on with by another, on one PostgreSQL database and without the files of the first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures_jobs import MIB, JobsRig
from fixtures_postgresql import Server, postgresql
from vbm.services import jobs


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
