"""Jobs end to end: a worker process, the lab, and what people see of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures_jobs import JobsRig
from vbm.services import jobs


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
