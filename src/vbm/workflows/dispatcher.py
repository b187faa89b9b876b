"""Schedules become executions, executions become runs. Every worker may do it: the database lets one of them win."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final

from vbm.catalog.base import Transaction as Database
from vbm.catalog.executions import (
    ExecutionRecord,
    claim_execution,
    end_execution,
    insert_execution,
    pending_executions,
    postpone_execution,
    slot_taken,
)
from vbm.catalog.jobs import JobRecord, advance_schedule, due_jobs, find_job, note_ended, note_started
from vbm.catalog.runs import LIVE, RunFilter, RunRecord, insert_runs, list_runs
from vbm.catalog.totals import count_no_run, keep_selected
from vbm.clock import rfc3339
from vbm.errors import InputError, VbmError
from vbm.ids import new_id
from vbm.notifications.events import Event, EventKind
from vbm.policy.schedule import DEFAULT_GRACE_SECONDS, Schedule, due, next_runs
from vbm.workflows.doors import Doors
from vbm.workflows.outbox import emit
from vbm.workflows.resolve import Resolved, look_up, note_folders

_CLAIM: Final = timedelta(minutes=10)
_AGAIN: Final = timedelta(seconds=30)
_log = logging.getLogger(__name__)


def next_run(schedule: Schedule | None, after: datetime) -> datetime | None:
    """The first slot later than that; None without a schedule, or where it has ended."""
    return next(iter(next_runs(schedule, after, 1)), None) if schedule else None


def fire(doors: Doors) -> list[str]:
    """Execute the jobs whose time has come, once a slot; their execution ids. Missed slots are told of."""
    now = doors.clock.now()
    with doors.catalog.reading() as session:
        ready = due_jobs(session, now)
    fired = []
    for record in ready:
        with doors.catalog.writing() as session:
            execution = _fire(session, record, now)
        if execution:
            fired.append(execution)
    return fired


def _fire(session: Database, record: JobRecord, now: datetime) -> str:
    schedule = record.job.schedule
    if schedule is None:
        advance_schedule(session, record, record.last_slot, None)
        return ""
    decided = due(schedule, record.last_slot, now)
    last = decided.fire or (decided.missed[-1] if decided.missed else record.last_slot)
    if not advance_schedule(session, record, last, next_run(schedule, max(now, last))):
        return ""
    if decided.missed:
        emit(session, _missed(record, decided.missed, now), record.document)
    if decided.fire is None or slot_taken(session, record.id, decided.fire):
        return ""
    execution = ExecutionRecord(new_id(now), record.id, "schedule", now, slot=decided.fire)
    insert_execution(session, execution)
    return execution.id


def _missed(record: JobRecord, slots: tuple[datetime, ...], now: datetime) -> Event:
    several = (
        f"{len(slots)} times, last at {rfc3339(slots[-1])}" if len(slots) > 1 else f"at {rfc3339(slots[0])}"
    )
    return Event(
        kind=EventKind.SCHEDULE_MISSED,
        message=f"The job {record.name} did not run {several}: the service was not running then.",
        time=now,
        job=record.name,
        remedy="Run it by hand if that backup is needed, or allow a longer delay with misfire_grace_seconds.",
    )


def expand(doors: Doors) -> int:
    """Look up the VMs of pending executions and queue one run each; how many runs. Raises the catalog's errors."""
    now = doors.clock.now()
    with doors.catalog.reading() as session:
        waiting = pending_executions(session, now)
    return sum(_expand(doors, record, now) for record in waiting)


def _expand(doors: Doors, record: ExecutionRecord, now: datetime) -> int:
    with doors.catalog.writing() as session:
        if not claim_execution(session, record, now + _CLAIM):
            return 0
        job = find_job(session, record.job_id)
    if job is None:
        with doors.catalog.writing() as session:
            end_execution(session, record.id, "failed", "the job was deleted")
        return 0
    try:
        found = _look_up(doors, job, record)
    except VbmError as error:
        _later(doors, record, job, error)
        return 0
    return _queue(doors, record, job, found)


def _look_up(doors: Doors, job: JobRecord, record: ExecutionRecord) -> Resolved:
    session = doors.connect(job.vcenter_id)
    try:
        found = look_up(session, job.job.selection)
    finally:
        session.close()
    note_folders(doors.catalog, job.vcenter_id, found.vms)
    chosen, unmatched = found.vms, found.unmatched
    if record.vms:
        wanted = set(record.vms.splitlines())
        chosen = tuple(vm for vm in chosen if vm.name in wanted or vm.instance_uuid in wanted)
    if not chosen:
        raise InputError(
            f"the job {job.name} selects no VM", hint="look at its selection: vbm job show, vbm vm list"
        )
    return Resolved(chosen, unmatched)


def _later(doors: Doors, record: ExecutionRecord, job: JobRecord, error: VbmError) -> None:
    """Try again while the slot's grace lasts, then give up and say so."""
    now = doors.clock.now()
    grace = job.job.schedule.misfire_grace_seconds if job.job.schedule else DEFAULT_GRACE_SECONDS
    again = now + _AGAIN * min(2**record.tries, 20)
    with doors.catalog.writing() as session:
        _log.warning("the job %s can't begin: %s", job.name, error.message)
        if not error.permanent and again <= record.created + timedelta(seconds=grace):
            postpone_execution(session, record.id, again, error.message)
            return
        if end_execution(session, record.id, "failed", error.message):
            note_started(session, job.id, record.created, job.unmatched)
            note_ended(session, job.id, "failed", now)
            count_no_run(session, job.id, job.vcenter_id, error.code, now)
            event = Event(
                kind=EventKind.FAILURE,
                message=f"The job {job.name} could not begin: {error.message}",
                time=now,
                job=job.name,
                remedy=error.hint,
            )
            emit(session, event, job.document)


def _queue(doors: Doors, record: ExecutionRecord, job: JobRecord, found: Resolved) -> int:
    now = doors.clock.now()
    document = job.document | ({"mode": record.mode} if record.mode else {})
    with doors.catalog.writing() as session:
        if not end_execution(session, record.id, "started"):
            return 0
        live = list_runs(session, RunFilter(states=LIVE, job_id=job.id, limit=100_000))
        busy = {run.vm_uuid for run in live}
        runs = [
            RunRecord(
                id=new_id(now),
                execution_id=record.id,
                job_id=job.id,
                job_name=job.name,
                vm_uuid=vm.instance_uuid,
                vm_name=vm.name,
                vcenter_id=job.vcenter_id,
                repository_id=job.repository_id,
                datastores=tuple(sorted({disk.datastore for disk in vm.disks if disk.datastore})),
                document=document,
                created=now,
                trigger=record.trigger,
                priority=int(document["priority"]),
            )
            for vm in found.vms
            if vm.instance_uuid not in busy
        ]
        insert_runs(session, runs)
        note_started(session, job.id, now, found.unmatched)
        if not record.vms:
            keep_selected(session, job.id, job.vcenter_id, {vm.name for vm in found.vms})
        new = [rule for rule in found.unmatched if rule not in job.unmatched]
        if new:
            emit(session, _unmatched(job, new, now), job.document)
    if busy:
        _log.warning("job %s: %d VMs are still being backed up by it and are left out", job.name, len(busy))
    return len(runs)


def _unmatched(job: JobRecord, rules: list[str], now: datetime) -> Event:
    return Event(
        kind=EventKind.WARNING,
        message=f"No VM answers to these rules of the job {job.name} any more: {', '.join(rules)}.",
        time=now,
        job=job.name,
        about="selection",
        remedy="Were the VMs deleted or renamed? Change the selection, or restore them.",
    )
