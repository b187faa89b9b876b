"""Jobs as pages show them: what they protect now, how the last runs ended, when the oldest restore point goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from vbm.catalog.jobs import JobRecord
from vbm.catalog.repositories import all_repositories
from vbm.catalog.restore_points import PointFilter, list_points
from vbm.catalog.results import Result, last_results, oldest_points
from vbm.catalog.vcenters import VcenterRecord
from vbm.ids import RestorePointId
from vbm.policy.job import Job
from vbm.policy.retention import Point, departure, plan
from vbm.policy.schedule import next_runs, slots
from vbm.security.roles import Permission
from vbm.services import identity, inventory_cache, jobs, protected
from vbm.services.workspace import Workspace
from vbm.vsphere.model import VirtualMachine
from vbm.workflows.resolve import Resolved, pick

STRIP: Final = 14
_LOOK_AHEAD: Final = 14
_SIMULATED: Final = timedelta(days=400)
_MOST: Final = 1000
_NOTHING: Final = "\x00"  # no VM has such a name


@dataclass(frozen=True, slots=True)
class Countdown:
    """``oldest``: when the job's oldest restore point was taken; ``goes``: when it goes if all backups succeed."""

    oldest: datetime
    goes: datetime | None


@dataclass(frozen=True, slots=True)
class JobView:
    """``machines``: how many it selects now; None where its vCenter was never seen."""

    record: JobRecord
    job: Job
    machines: int | None
    results: tuple[Result, ...]
    countdown: Countdown | None
    repository: str
    vcenter: str


def views(workspace: Workspace, records: Sequence[JobRecord]) -> list[JobView]:
    """For those jobs."""
    ids = [record.id for record in records]
    seen = {one.vcenter.id: one for one in inventory_cache.whole(workspace)}
    with workspace.catalog.reading() as session:
        results = last_results(session, ids, STRIP)
        oldest = oldest_points(session, ids)
        names = {repository.id: repository.name for repository in all_repositories(session)}
    found = []
    for record in records:
        one, job, vm = seen.get(record.vcenter_id), record.job, oldest.get(record.id)
        found.append(
            JobView(
                record=record,
                job=job,
                machines=protected.selected_count(one, record) if one else None,
                results=tuple(results.get(record.id, ())),
                countdown=_countdown(workspace, record, job, vm) if vm else None,
                repository=names.get(record.repository_id, ""),
                vcenter=one.vcenter.name if one else "",
            )
        )
    return found


def _countdown(workspace: Workspace, record: JobRecord, job: Job, vm: str) -> Countdown | None:
    now = workspace.clock.now()
    with workspace.catalog.reading() as session:
        wanted = PointFilter(vm=vm, repository_id=record.repository_id)
        points = [
            Point(RestorePointId(p.id), p.started, pinned=p.pinned)
            for p in list_points(session, wanted)
            if p.job_id == record.id
        ]
    loose = [point for point in points if not point.pinned]
    if not loose:
        return None
    first = min(loose, key=lambda point: point.taken)
    upcoming = jobs.upcoming(record, now, _LOOK_AHEAD)
    return Countdown(first.taken, departure(first, points, job.rules, now, upcoming))


@dataclass(frozen=True, slots=True)
class Preview:
    """What a job that is being written would do. ``kept``: of a year and a bit of its backups, those that stay."""

    machines: tuple[VirtualMachine, ...]
    unmatched: tuple[str, ...]
    unseen: str  # why its vCenter could not be asked
    upcoming: tuple[datetime, ...]
    simulated: tuple[tuple[datetime, bool], ...]

    @property
    def kept(self) -> tuple[datetime, ...]:
        return tuple(moment for moment, stays in self.simulated if stays)


def preview(workspace: Workspace, document: Mapping[str, Any]) -> Preview:
    """Nothing is stored. Raises InputError for a document that no job can have; one that selects nothing may come."""
    identity.require(Permission.MANAGE, "change jobs")
    chosen, now = document["selection"], workspace.clock.now()
    empty = not any(chosen.get(name) for name in ("vms", "folders", "tags", "resource_pools", "attributes"))
    job = Job.from_document({**document, "selection": {"vms": [_NOTHING]}} if empty else document)
    seen = [s for s in inventory_cache.everything(workspace) if job.vcenter in {s.vcenter.id, s.vcenter.name}]
    found = pick(seen[0].machines, job.selection, seen[0].labels) if seen else Resolved((), ())
    machines, unmatched = found.vms, found.unmatched
    upcoming = next_runs(job.schedule, now, 5) if job.schedule else []
    return Preview(
        machines=tuple(sorted(machines, key=lambda vm: vm.name.casefold())),
        unmatched=() if empty else unmatched,
        unseen=seen[0].problem if seen else "the vCenter is not known",
        upcoming=tuple(upcoming),
        simulated=simulated(job, now),
    )


def simulated(job: Job, now: datetime) -> tuple[tuple[datetime, bool], ...]:
    """Backups at every slot of the last 400 days, and whether each would still be there; the oldest first."""
    if job.schedule is None:
        return ()
    moments = _until(job, now - _SIMULATED, now)[-_MOST:]
    points = [Point(RestorePointId(f"{number:06}"), moment) for number, moment in enumerate(moments)]
    decided = plan(points, job.rules, now).decisions
    return tuple((decision.point.taken, decision.keep) for decision in decided)


def _until(job: Job, first: datetime, last: datetime) -> list[datetime]:
    assert job.schedule is not None  # noqa: S101 - asked before
    found = []
    for slot in islice(slots(job.schedule, first), 20_000):
        if slot > last:
            break
        found.append(slot)
    return found


def vcenters_seen(workspace: Workspace) -> list[VcenterRecord]:
    """For choosing one."""
    return [one.vcenter for one in inventory_cache.everything(workspace)]
