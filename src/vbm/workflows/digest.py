"""The daily report: one message about the runs of the last day, at a time that people choose."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from vbm.catalog.day import Day, day_of_runs
from vbm.catalog.preferences import digest_time, last_digest, note_digest
from vbm.catalog.snapshots import outstanding
from vbm.catalog.workers import admission_lock
from vbm.notifications.events import Event, EventKind
from vbm.units import format_size
from vbm.workflows.doors import Doors
from vbm.workflows.outbox import emit

_DAY: Final = timedelta(hours=24)
_WORDS: Final = (
    ("succeeded", "Succeeded"),
    ("warning", "With warnings"),
    ("failed", "Failed"),
    ("cancelled", "Cancelled"),
)


def report_if_due(doors: Doors) -> bool:
    """Put the report of the last day into the outbox, once a slot whatever the number of workers."""
    now = doors.clock.now()
    with doors.catalog.reading() as session:
        if not _is_due(digest_time(session), last_digest(session), now):
            return False
    with doors.catalog.writing() as session:
        admission_lock(session)
        last = last_digest(session)
        if not _is_due(digest_time(session), last, now):
            return False
        since = max(last, now - 2 * _DAY) if last else now - _DAY
        day = day_of_runs(session, since, now)
        emit(session, digest(day, len(outstanding(session)), now))
        note_digest(session, now)
    return True


def _is_due(at: str, last: datetime | None, now: datetime) -> bool:
    if not at:
        return False
    hour, minute = (int(part) for part in at.split(":"))
    slot = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    slot = slot if slot <= now else slot - _DAY
    return last is None or last < slot


def digest(day: Day, snapshots: int, now: datetime) -> Event:
    """The report in words. ``snapshots``: how many of ours are there now."""
    total = sum(day.counts.values())
    bad = day.counts.get("failed", 0)
    if not total:
        message = "No backup ran in the last day."
    else:
        well = day.counts.get("succeeded", 0) + day.counts.get("warning", 0)
        message = f"{well} of {total} runs of the last day succeeded" + (f"; {bad} failed." if bad else ".")
    facts = [(label, str(day.counts[state])) for state, label in _WORDS if day.counts.get(state)]
    if total:
        facts += [("Read", format_size(day.bytes_read)), ("New", format_size(day.bytes_new))]
    facts.append(("Snapshots now", str(snapshots)))
    labels: dict[str, int] = {}
    for trouble in day.troubles:
        labels[trouble.vm] = labels.get(trouble.vm, 0) + 1
        label = trouble.vm if labels[trouble.vm] == 1 else f"{trouble.vm} ({labels[trouble.vm]})"
        facts.append((label, f"{trouble.state}, job {trouble.job}: {trouble.message}"))
    return Event(
        kind=EventKind.DIGEST,
        message=message,
        time=now,
        about="no backups"
        if not total
        else "all well"
        if not day.troubles
        else f"{len(day.troubles)} to look at",
        remedy="Look at the runs that failed: vbm run list --state failed" if bad else "",
        facts=tuple(facts),
    )
