"""Jobs: create, change, list, enable, run now, delete, and what retention would do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from typing import Any

from vbm.catalog.base import Transaction
from vbm.catalog.channels import channel_by_name
from vbm.catalog.errors import UnknownNameError
from vbm.catalog.executions import ExecutionRecord, insert_execution
from vbm.catalog.jobs import (
    JobRecord,
    all_jobs,
    delete_job,
    insert_job,
    job_by_name,
    replace_job,
)
from vbm.catalog.locks import one_at_a_time
from vbm.catalog.names import checked_name
from vbm.catalog.repositories import repository_by_name
from vbm.catalog.runs import LIVE, RunFilter, list_runs
from vbm.catalog.vcenters import vcenter_by_name
from vbm.errors import NotAllowedError
from vbm.ids import VmUuid, new_id
from vbm.policy.job import Job
from vbm.policy.retention import RetentionPlan
from vbm.policy.schedule import next_runs
from vbm.security.roles import Permission, PermissionMissingError
from vbm.services import identity, points, repositories, trail
from vbm.services.conditions import anything
from vbm.services.workspace import Workspace
from vbm.workflows.dispatcher import next_run
from vbm.workflows.retention import planned


class JobBusyError(NotAllowedError):
    """The job has runs that have not ended."""

    code = "job-busy"


def create(workspace: Workspace, document: Mapping[str, Any]) -> JobRecord:
    """A new job from its document. Raises InputError, UnknownNameError, NameTakenError."""
    identity.require(Permission.MANAGE, "create jobs")
    now = workspace.clock.now()
    with workspace.catalog.writing() as session:
        record = _record(session, Job.from_document(document), new_id(now), now, now)
        insert_job(session, record)
        trail.note(workspace, session, "job.create", record.name, {"job": record.document})
    return record


def update(
    workspace: Workspace,
    name: str,
    changes: Mapping[str, Any],
    condition: Callable[[JobRecord], None] = anything,
) -> JobRecord:
    """Change the fields given; objects such as ``schedule`` are merged field by field."""
    identity.require(Permission.MANAGE, "change jobs")
    now = workspace.clock.now()
    with workspace.catalog.writing() as session:
        one_at_a_time(session, "job")
        old = _seen(session, name)
        condition(old)
        job = Job.from_document(_merged(old.document, changes))
        new = _record(session, job, old.id, old.created, now)
        kept = replace(
            new, last_started=old.last_started, last_success=old.last_success, last_state=old.last_state
        )
        if job.schedule == old.job.schedule and job.enabled and old.enabled:
            kept = replace(kept, last_slot=old.last_slot, next_run=old.next_run)
        replace_job(session, kept)
        trail.note(workspace, session, "job.update", kept.name, {"changes": dict(changes)})
    return kept


def listing(workspace: Workspace) -> list[JobRecord]:
    """Every job, by name."""
    with workspace.catalog.reading() as session:
        return all_jobs(session)


def visible(workspace: Workspace) -> list[JobRecord]:
    """Those that can select nothing but VMs that who asks may see, by name."""
    identity.require(Permission.SEE)
    return [record for record in listing(workspace) if _is_seen(record)]


def _is_seen(record: JobRecord) -> bool:
    scope, vcenter = identity.current().scope, record.vcenter_id
    return scope.has_all_of(vcenter) or scope.covers_selection(vcenter, record.job.selection)


def get(workspace: Workspace, name: str) -> JobRecord:
    """The job of that name or id. Raises UnknownNameError, also where who asks may not see it."""
    identity.require(Permission.SEE)
    with workspace.catalog.reading() as session:
        return _seen(session, name)


def _seen(session: Transaction, name: str) -> JobRecord:
    record = job_by_name(session, name)
    if not _is_seen(record):
        raise UnknownNameError(f"there is no job named {name!r}")
    return record


def upcoming(record: JobRecord, now: datetime, count: int = 5) -> list[datetime]:
    """The next times at which it runs; none while it is disabled or has no schedule."""
    schedule = record.job.schedule
    return next_runs(schedule, max(now, record.last_slot), count) if schedule and record.enabled else []


def delete(workspace: Workspace, name: str, condition: Callable[[JobRecord], None] = anything) -> JobRecord:
    """Delete the job; runs and restore points stay. Raises JobBusyError while it has live runs."""
    identity.require(Permission.MANAGE, "delete jobs")
    with workspace.catalog.writing() as session:
        one_at_a_time(session, "job")
        record = _seen(session, name)
        condition(record)
        live = list_runs(session, RunFilter(states=LIVE, job_id=record.id, limit=1))
        if live:
            raise JobBusyError(
                f"the job {record.name} has runs under way",
                hint=f"wait for them, or cancel them first: vbm run cancel {live[0].id}",
            )
        delete_job(session, record.id)
        trail.note(workspace, session, "job.delete", record.name)
    return record


def run_now(
    workspace: Workspace, name: str, *, vms: Sequence[str] = (), mode: str = ""
) -> tuple[JobRecord, str]:
    """(the job, the id of its execution): a worker looks up its VMs and takes their runs."""
    identity.require(Permission.OPERATE, "run jobs")
    now = workspace.clock.now()
    with workspace.catalog.writing() as session:
        record = _seen(session, name)
        execution = ExecutionRecord(new_id(now), record.id, "manual", now, vms="\n".join(vms), mode=mode)
        insert_execution(session, execution)
        trail.note(workspace, session, "job.run", record.name, {"execution": execution.id})
    return record, execution.id


def retention(workspace: Workspace, name: str) -> dict[str, tuple[str, RetentionPlan]]:
    """What the job's retention would do now, by VM that who asks may see: (its name, the plan). Nothing is changed."""
    record, seen = get(workspace, name), points.visible_vms(workspace)
    stored = repositories.get(workspace, record.repository_id)
    with closing(repositories.open_stored(workspace, stored)) as repository:
        found = [m for m in repository.restore_points() if m.job_id == record.id]
        names = {m.vm_instance_uuid: m.vm_name for m in found if seen is None or m.vm_instance_uuid in seen}
        plans = planned(repository, map(VmUuid, names), record.id, record.job.rules, workspace.clock.now())
    return {vm: (names[vm], plan) for vm, plan in plans.items()}


def _record(session: Transaction, job: Job, job_id: str, created: datetime, now: datetime) -> JobRecord:
    vcenter = vcenter_by_name(session, job.vcenter)
    if not identity.current().scope.covers_selection(vcenter.id, job.selection):
        raise PermissionMissingError(
            f"{identity.current().name} is limited to other VMs than this job could select",
            hint="select by folders alone, and by folders of yours",
        )
    repository = repository_by_name(session, job.repository)
    document = job.placed(vcenter.id, repository.id).to_document() | {"name": checked_name(job.name)}
    for notice in document["notifications"]:
        notice["channel_id"] = channel_by_name(session, notice["channel_id"]).id
    return JobRecord(
        id=job_id,
        name=document["name"],
        enabled=job.enabled,
        vcenter_id=vcenter.id,
        repository_id=repository.id,
        document=document,
        created=created,
        updated=now,
        last_slot=now,
        next_run=next_run(job.schedule, now) if job.enabled else None,
    )


def _merged(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(document)
    for name, value in changes.items():
        old = merged.get(name)
        merged[name] = (
            _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return merged
