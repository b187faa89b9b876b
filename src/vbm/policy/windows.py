"""Backup windows: the hours of a week in which runs may read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from vbm.errors import InputError

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Window:
    """Open from ``start`` to ``end`` local time on each of ``days``; an end not after the start is next day's.

    ``at_end``: a run still reading when the window closes is *paused* until it opens again, or *ended*.
    """

    start: time
    end: time
    days: frozenset[str] = frozenset(DAYS)
    timezone: str = "UTC"
    at_end: Literal["pause", "end"] = "end"

    def __post_init__(self) -> None:
        unknown = self.days - set(DAYS)
        if unknown or not self.days:
            raise InputError(
                f"backup window: not days of the week: {', '.join(sorted(unknown)) or 'none given'}",
                hint=f"use some of {', '.join(DAYS)}",
            )


def parse_window(text: str, timezone: str = "UTC", at_end: Literal["pause", "end"] = "end") -> Window:
    """``22:00-06:00`` or ``mon,tue,fri 22:00-06:00``. Raises InputError."""
    days, _, hours = text.strip().lower().rpartition(" ")
    start, _, end = hours.partition("-")
    try:
        opens, closes = time.fromisoformat(start), time.fromisoformat(end)
    except ValueError as error:
        raise InputError(
            f"not a backup window: {text!r}", hint="write 22:00-06:00, or mon,tue 22:00-06:00"
        ) from error
    named = frozenset(day.strip() for day in days.split(",")) if days else frozenset(DAYS)
    return Window(opens, closes, named, timezone, at_end)


def open_until(window: Window, now: datetime) -> datetime | None:
    """When the window closes, in UTC, if it is open at ``now``; else None."""
    for start, end in _spans(window, now):
        if start <= now < end:
            return end
    return None


def opens_at(window: Window, now: datetime) -> datetime:
    """``now`` if it is open, else when it next opens, in UTC."""
    if open_until(window, now):
        return now
    return min(start for start, _ in _spans(window, now) if start > now)


def _spans(window: Window, now: datetime) -> list[tuple[datetime, datetime]]:
    """Openings from the day before yesterday to nine days ahead: they cover any week and any zone."""
    zone = ZoneInfo(window.timezone)
    today = now.astimezone(zone).date()
    spans = []
    for shift in range(-2, 10):
        day = today + timedelta(days=shift)
        if DAYS[day.weekday()] not in window.days:
            continue
        last = day if window.end > window.start else day + timedelta(days=1)
        start = datetime.combine(day, window.start, zone).astimezone(UTC)
        spans.append((start, datetime.combine(last, window.end, zone).astimezone(UTC)))
    return spans
