"""How the last executions of jobs ended, and the oldest restore point of each: for lists of hundreds of jobs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vbm.catalog.restore_points import PointRow
from vbm.catalog.runs import RunRow

_WORST: Final = ("running", "queued", "failed", "warning", "cancelled", "succeeded")


@dataclass(frozen=True, slots=True)
class Result:
    """One execution: ``counts`` of its runs by state."""

    execution_id: str
    began: datetime
    counts: dict[str, int]

    @property
    def state(self) -> str:
        """``running`` while one of them is, then the worst."""
        return next(state for state in _WORST if self.counts.get(state))


def last_results(session: Session, job_ids: Collection[str], count: int) -> dict[str, list[Result]]:
    """By job: its last executions, the oldest first. Those that became no run are not among them."""
    query = (
        select(RunRow.job_id, RunRow.execution_id, RunRow.state, func.count(), func.min(RunRow.created))
        .where(RunRow.job_id.in_(job_ids), RunRow.kind == "backup")
        .group_by(RunRow.job_id, RunRow.execution_id, RunRow.state)
    )
    found: dict[tuple[str, str], tuple[datetime, dict[str, int]]] = {}
    for job, execution, state, number, began in session.execute(query):
        known = found.get((str(job), execution))
        if known is None:
            found[str(job), execution] = (began, {state: int(number)})
        else:
            found[str(job), execution] = (min(began, known[0]), known[1] | {state: int(number)})
    by_job: dict[str, list[Result]] = {}
    for (job, execution), (began, counts) in found.items():
        by_job.setdefault(job, []).append(Result(execution, began, counts))
    return {job: sorted(results, key=lambda r: r.began)[-count:] for job, results in by_job.items()}


def oldest_points(session: Session, job_ids: Collection[str]) -> dict[str, str]:
    """By job: the VM that has its oldest restore point which is not pinned."""
    oldest = (
        select(func.min(PointRow.id))
        .where(PointRow.job_id.in_(job_ids), PointRow.pinned.is_(False))
        .group_by(PointRow.job_id)
    )
    query = select(PointRow.job_id, PointRow.vm_uuid).where(PointRow.id.in_(oldest))
    return {str(job): vm for job, vm in session.execute(query)}
