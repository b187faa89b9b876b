"""Runs: list, show, cancel, and what they told."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from vbm.catalog.errors import UnknownNameError
from vbm.catalog.executions import ExecutionRecord, find_execution
from vbm.catalog.jobs import find_job, note_ended
from vbm.catalog.run_log import LogLine, last_lines, log_lines
from vbm.catalog.runs import (
    ENDED,
    LIVE,
    RunFilter,
    RunRecord,
    count_ends,
    find_run,
    list_runs,
    list_runs_briefly,
    live_groups,
    request_cancel,
    run_by_id,
    run_marks,
)
from vbm.catalog.vm_places import covers_vm
from vbm.errors import NotAllowedError
from vbm.security.roles import Permission
from vbm.services import identity, jobs, trail
from vbm.services.workspace import Workspace


class RunEndedError(NotAllowedError):
    """A run that has ended can't be cancelled."""

    code = "run-ended"


def listing(workspace: Workspace, wanted: RunFilter) -> list[RunRecord]:
    """The newest first."""
    with workspace.catalog.reading() as session:
        return list_runs(session, wanted)


def visible(workspace: Workspace, wanted: RunFilter) -> list[RunRecord]:
    """The newest first, as far as who asks may see them."""
    return listing(workspace, _limited(wanted))


def visible_briefly(workspace: Workspace, wanted: RunFilter) -> list[RunRecord]:
    """The same without documents, results and warnings: for thousands at once."""
    with workspace.catalog.reading() as session:
        return list_runs_briefly(session, _limited(wanted))


def live(workspace: Workspace) -> list[tuple[Any, ...]]:
    """``live_groups`` of those that who asks may see."""
    with workspace.catalog.reading() as session:
        return live_groups(session, _limited(RunFilter()))


def _limited(wanted: RunFilter) -> RunFilter:
    return replace(wanted, scope=identity.require(Permission.SEE).scope)


def get(workspace: Workspace, run_id: str) -> RunRecord:
    """The run of that id, or of an unambiguous beginning or end of one. Raises UnknownNameError."""
    who = identity.require(Permission.SEE)
    with workspace.catalog.reading() as session:
        record = run_by_id(session, run_id)
        if not covers_vm(session, who.scope, record.vcenter_id, record.vm_uuid):
            raise UnknownNameError(f"there is no run {run_id!r}")
    return record


def of_execution(workspace: Workspace, execution_id: str) -> tuple[ExecutionRecord | None, list[RunRecord]]:
    """How an execution stands and the runs it has become that who asks may see, oldest first."""
    with workspace.catalog.reading() as session:
        found = list_runs(session, _limited(RunFilter(execution_id=execution_id, limit=100_000)))
        return find_execution(session, execution_id), found[::-1]


def of_job_execution(
    workspace: Workspace, job_id: str, execution_id: str
) -> tuple[ExecutionRecord, list[RunRecord]]:
    """The same of an execution of that job. Raises UnknownNameError."""
    record, found = of_execution(workspace, execution_id)
    if record is None or record.job_id != job_id:
        raise UnknownNameError(f"the job has no execution {execution_id!r}")
    return record, found


def cancel(workspace: Workspace, run_id: str) -> RunRecord:
    """Ask it to stop; its snapshot is removed first. Raises RunEndedError."""
    identity.require(Permission.OPERATE, "cancel runs")
    record, now = get(workspace, run_id), workspace.clock.now()
    with workspace.catalog.writing() as session:
        if not request_cancel(session, record.id, f"by {identity.current().name}", now):
            raise RunEndedError(f"the run {record.id} has ended already: {record.state}")
        trail.note(workspace, session, "run.cancel", record.id, {"vm": record.vm_name})
        after = find_run(session, record.id)
        assert after is not None  # noqa: S101 - read above
        if after.state in ENDED and after.job_id and find_job(session, after.job_id) is not None:
            note_ended(session, after.job_id, after.state, now)
    return after


def cancel_all(workspace: Workspace, job_id: str) -> list[RunRecord]:
    """Cancel every run of the job that has not ended and that who asks may see; those that were asked to stop."""
    found = visible(workspace, RunFilter(states=LIVE, job_id=job_id, limit=100_000))
    stopped = []
    for record in found:
        with suppress(RunEndedError):  # it ended meanwhile
            stopped.append(cancel(workspace, record.id))
    return stopped


def logs(workspace: Workspace, record: RunRecord, *, after: int = 0) -> list[tuple[int, LogLine]]:
    """(number, line) of a run that ``get`` gave, the oldest first."""
    with workspace.catalog.reading() as session:
        return log_lines(session, record.id, after=after)


def marks(workspace: Workspace, run_ids: Collection[str]) -> dict[str, Hashable]:
    """By run: what is another value after each change that people are shown. For who may see those runs."""
    with workspace.catalog.reading() as session:
        lines = last_lines(session, run_ids)
        return {run_id: (mark, lines.get(run_id)) for run_id, mark in run_marks(session, run_ids).items()}


def job_id_of(workspace: Workspace, name: str) -> str:
    """For filters: the id of the job of that name."""
    return jobs.get(workspace, name).id


def ends(workspace: Workspace, days: Sequence[tuple[datetime, datetime]]) -> list[dict[str, int]]:
    """For each span: how many backups queued in it have ended how, as far as who asks may see them."""
    scope = identity.require(Permission.SEE).scope
    with workspace.catalog.reading() as session:
        return [count_ends(session, first, last, scope) for first, last in days]


def worst_between(workspace: Workspace, first: datetime, last: datetime, limit: int) -> list[RunRecord]:
    """Of the backups queued from ``first`` until ``last`` that who asks may see: the failed first, at most so many."""
    found: list[RunRecord] = []
    for states in (("failed", "cancelled"), ("warning",), LIVE, ("succeeded",)):
        if len(found) < limit:
            rest = limit - len(found)
            wanted = RunFilter(states=states, since=first, until=last, limit=rest, kinds=("backup",))
            found += visible(workspace, wanted)
    return found
