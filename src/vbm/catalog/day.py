"""What the runs of the last day came to, for the daily report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from vbm.catalog.runs import ENDED, RunRow

_NAMED: Final = 20


@dataclass(frozen=True, slots=True)
class Trouble:
    """A run that did not end well."""

    vm: str
    job: str
    state: str
    message: str


@dataclass(frozen=True, slots=True)
class Day:
    """``troubles``: the first twenty; ``counts``: how many ended in each state."""

    counts: dict[str, int]
    bytes_read: int
    bytes_new: int
    troubles: tuple[Trouble, ...]


def day_of_runs(session: Session, since: datetime, until: datetime) -> Day:
    """Of the runs that ended then. Reads those queued within two days before, which ids tell: runs sort by time."""
    columns = (
        RunRow.state,
        RunRow.vm_name,
        RunRow.job_name,
        RunRow.error_message,
        RunRow.warnings,
        RunRow.result,
    )
    ended = RunRow.state.in_(ENDED) & (RunRow.finished > since) & (RunRow.finished <= until)
    earliest = datetime.fromtimestamp(since.timestamp() - 2 * 86400, since.tzinfo)
    query = select(*columns).where(RunRow.id >= f"{earliest:%Y%m%dT%H%M%S}", ended).order_by(RunRow.id)
    counts: dict[str, int] = {}
    read = new = 0
    troubles: list[Trouble] = []
    for state, vm, job, error, warnings, result in session.execute(query):
        counts[state] = counts.get(state, 0) + 1
        read += int((result or {}).get("bytes_read", 0))
        new += int((result or {}).get("bytes_new", 0))
        if state != "succeeded" and len(troubles) < _NAMED:
            troubles.append(Trouble(vm, job, state, error or next(iter(warnings), "")))
    return Day(counts, read, new, tuple(troubles))
