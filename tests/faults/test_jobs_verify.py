"""A job that verifies each new restore point: the result is remembered, damage is told, and nothing older goes then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures_jobs import MIB, JobsRig
from vbm.catalog.restore_points import PointFilter, list_points
from vbm.services import channels, jobs
from vbm.services.channels import NewChannel


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JobsRig]:
    made = JobsRig(tmp_path)
    yield made
    made.close()


def test_a_damaged_restore_point_is_told_and_the_older_ones_stay(rig: JobsRig) -> None:
    rig.machine("web01", MIB)
    channel = channels.add(rig.workspace, NewChannel("ops", "http://127.0.0.1:9/", kind="webhook"))
    rig.job(verify="full", mode="full", retention={"keep_last": 1})
    child = rig.worker()
    jobs.run_now(rig.workspace, "nightly")
    (first,) = rig.ended(1)
    rig.stop(child)
    assert first.state == "succeeded", first
    assert first.result["verified"] | {"time": ""} == {"mode": "full", "good": True, "damages": 0, "time": ""}
    with rig.workspace.catalog.reading() as session:
        assert [point.verified is not None for point in list_points(session, PointFilter())] == [True]
    spoiling = rig.worker("spoil=verify-new.begin", f"packs={rig.folder / 'repository/packs'}")
    jobs.run_now(rig.workspace, "nightly")
    second = rig.ended(2)[0]
    rig.stop(spoiling)
    assert (second.state, second.result["verified"]["good"]) == ("warning", False)
    assert any("not verified" in warning for warning in second.warnings)
    assert len(rig.points()) == 2
    told = [message.event for message in channels.messages(rig.workspace, channel.id)]
    (failed,) = [event for event in told if event["event"] == "verify_failed"]
    assert (failed["vm"], failed["about"]) == ("web01", second.restore_point_id)


def test_a_job_verifies_as_it_says(rig: JobsRig) -> None:
    rig.machine("web01", MIB)
    rig.job("quick", verify="quick")
    rig.job("none")
    child = rig.worker()
    jobs.run_now(rig.workspace, "quick")
    (first,) = rig.ended(1)
    jobs.run_now(rig.workspace, "none")
    second = rig.ended(2)[0]
    rig.stop(child)
    assert first.result["verified"]["mode"] == "quick"
    assert "verified" not in second.result
