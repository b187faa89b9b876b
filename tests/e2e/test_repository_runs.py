"""Checks and garbage collections of repositories as runs: executed by a worker, true about what they find."""

from __future__ import annotations

from pathlib import Path

from fixtures_jobs import JobsRig
from vbm.catalog.restore_points import PointFilter
from vbm.services import jobs, points, repository_runs


def test_a_repository_is_checked_and_collected_by_a_worker_and_damage_is_found(tmp_path: Path) -> None:
    rig = JobsRig(tmp_path)
    try:
        rig.machine("web01")
        rig.job()
        child = rig.worker()
        jobs.run_now(rig.workspace, "nightly")
        rig.ended(1)
        check = repository_runs.check(rig.workspace, "main", "full")
        collect = repository_runs.collect(rig.workspace, "main")
        by_id = {run.id: run for run in rig.ended(3)}
        checked, collected = by_id[check.id], by_id[collect.id]
        assert (checked.state, checked.result["good"], checked.result["restore_points"]) == (
            "succeeded",
            True,
            1,
        )
        assert checked.result["bytes_checked"] > 0
        assert (collected.state, collected.result["delete"]) == ("succeeded", 0)
        (point,) = points.listing(rig.workspace, PointFilter())
        assert (point.verified_mode, point.verified_good) == ("full", True)
        largest = max(rig.folder.glob("repository/**/*"), key=lambda path: path.stat().st_size)
        largest.chmod(0o600)
        spoilt = bytearray(largest.read_bytes())
        spoilt[len(spoilt) // 2] ^= 1
        largest.write_bytes(spoilt)
        again = repository_runs.check(rig.workspace, "main", "full")
        failed = {run.id: run for run in rig.ended(4)}[again.id]
        assert (failed.state, failed.error_code) == ("failed", "damage-found"), rig.states()
        assert "1 of 1 restore points of main are damaged" in failed.error_message
        (point,) = points.listing(rig.workspace, PointFilter())
        assert point.verified_good is False
        rig.stop(child)
    finally:
        rig.close()
