"""Runs: list, show, cancel, and what they told."""

from __future__ import annotations

from vbm.catalog.executions import ExecutionRecord, find_execution
from vbm.catalog.jobs import find_job, note_ended
from vbm.catalog.run_log import LogLine, log_lines
from vbm.catalog.runs import ENDED, RunFilter, RunRecord, find_run, list_runs, request_cancel, run_by_id
from vbm.errors import NotAllowedError
from vbm.services import jobs, trail
from vbm.services.workspace import Workspace


class RunEndedError(NotAllowedError):
    """A run that has ended can't be cancelled."""

    code = "run-ended"


def listing(workspace: Workspace, wanted: RunFilter) -> list[RunRecord]:
    """The newest first."""
    with workspace.catalog.reading() as session:
        return list_runs(session, wanted)


def get(workspace: Workspace, run_id: str) -> RunRecord:
    """The run of that id, or of an unambiguous beginning or end of one. Raises UnknownNameError."""
    with workspace.catalog.reading() as session:
        return run_by_id(session, run_id)


def of_execution(workspace: Workspace, execution_id: str) -> tuple[ExecutionRecord | None, list[RunRecord]]:
    """How an execution stands and the runs it has become, oldest first."""
    with workspace.catalog.reading() as session:
        found = list_runs(session, RunFilter(execution_id=execution_id, limit=100_000))
        return find_execution(session, execution_id), found[::-1]


def cancel(workspace: Workspace, run_id: str) -> RunRecord:
    """Ask it to stop; its snapshot is removed first. Raises RunEndedError."""
    now = workspace.clock.now()
    with workspace.catalog.writing() as session:
        record = run_by_id(session, run_id)
        if not request_cancel(session, record.id, f"by {trail.actor()}", now):
            raise RunEndedError(f"the run {record.id} has ended already: {record.state}")
        trail.note(workspace, session, "run.cancel", record.id, {"vm": record.vm_name})
        after = find_run(session, record.id)
        assert after is not None  # noqa: S101 - read above
        if after.state in ENDED and find_job(session, after.job_id) is not None:
            note_ended(session, after.job_id, after.state, now)
    return after


def logs(workspace: Workspace, run_id: str, *, after: int = 0) -> list[tuple[int, LogLine]]:
    """(number, line), the oldest first."""
    with workspace.catalog.reading() as session:
        return log_lines(session, run_id, after=after)


def job_id_of(workspace: Workspace, name: str) -> str:
    """For filters: the id of the job of that name."""
    return jobs.get(workspace, name).id
