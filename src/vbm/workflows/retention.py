"""Retention of one job's restore points of one VM, after each successful backup."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from vbm.catalog.restore_points import drop_points
from vbm.ids import RestorePointId, VmUuid
from vbm.policy.job import Job
from vbm.policy.retention import Point, RetentionPlan, Rules, plan
from vbm.repository.prune import Dropped, PrunePlan, execute_prune
from vbm.repository.repository import Repository
from vbm.workflows.live import LiveRun

Document = dict[str, Any]


def points_of(repository: Repository, vm: VmUuid, job_id: str) -> list[Point]:
    """The restore points of that VM which that job has made. Those of other jobs and by hand are not its to drop."""
    pinned = repository.pinned()
    return [
        Point(m.restore_point_id, m.started, pinned=m.restore_point_id in pinned)
        for m in repository.restore_points(vm)
        if m.job_id == job_id
    ]


def planned(
    repository: Repository, vms: Iterable[VmUuid], job_id: str, rules: Rules, now: datetime
) -> dict[VmUuid, RetentionPlan]:
    """What the rules would do now to each VM's restore points."""
    return {vm: plan(points_of(repository, vm, job_id), rules, now) for vm in vms}


def after_backup(live: LiveRun) -> Document:
    """Drop what no rule keeps. Running it twice drops nothing more."""
    job = Job.from_document(live.run.document)
    if job.rules.keeps_everything:
        return {"dropped": []}
    repository = live.repository()
    vm = VmUuid(live.run.vm_uuid)
    points = points_of(repository, vm, live.run.job_id)
    decided = plan(points, job.rules, live.doors.clock.now())
    if decided.held:
        live.progress.warn(f"retention dropped nothing: {decided.held}")
    live.check_owner()
    drop: tuple[RestorePointId, ...] = decided.drop
    # What that frees is not worked out here: it would read the maps of the whole repository after each backup.
    going = tuple(Dropped(point, vm, live.run.vm_name, 0) for point in drop)
    execute_prune(repository, PrunePlan(going, freed_bytes=0))
    with live.doors.catalog.writing() as session:
        drop_points(session, live.run.repository_id, drop)
    for point in drop:
        live.progress.note(f"retention dropped restore point {point}")
    return {"dropped": list(drop)}
