"""Used space as it was, is and, at the pace of late, will be: what the chart of storage draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from vbm.services.overview import FULL_PERCENT

_AHEAD_DAYS: Final = 60


@dataclass(frozen=True, slots=True)
class Forecast:
    """All stores that tell their size, together. ``past`` and ``future``: (day, used bytes), both with today."""

    total_bytes: int
    used_bytes: int
    alarm_bytes: int
    past: tuple[tuple[date, int], ...]
    future: tuple[tuple[date, int], ...]
    alarm_on: date | None
    full_on: date | None

    @property
    def used_percent(self) -> int:
        """As each repository's: rounded up, so that a line that is reached is never told as not."""
        return -(-100 * self.used_bytes // self.total_bytes) if self.total_bytes else 0


def forecast(storage: Mapping[str, Any], today: date, days: int) -> Forecast:
    """From the document of ``growth``. What was used in the past is reckoned back from what was added since.

    Several repositories on one file system have its space once.
    """
    volumes = {space["volume"]: space for space in storage["repositories"] if space["total_bytes"]}
    total = sum(space["total_bytes"] for space in volumes.values())
    used = total - sum(space["free_bytes"] for space in volumes.values())
    alarm, rate = total * FULL_PERCENT // 100, storage["new_bytes_per_day"]
    added = {date.fromisoformat(day["date"]): day["new_bytes"] for day in storage["growth"]}
    past, level = [], used
    for back in range(days):
        day = today - timedelta(days=back)
        past.append((day, max(0, level)))
        level -= added.get(day, 0)
    future = [(today + timedelta(days=n), min(total, used + rate * n)) for n in range(_AHEAD_DAYS + 1)]
    return Forecast(
        total,
        used,
        alarm,
        tuple(past[::-1]),
        tuple(future) if total else (),
        _reached(used, alarm, rate, today) if total else None,
        _reached(used, total, rate, today) if total else None,
    )


def _reached(used: int, level: int, rate: int, today: date) -> date | None:
    """When the level is reached at this pace; None where it is not within ten years."""
    if used >= level:
        return today
    days = -(-(level - used) // rate) if rate else 3651
    return today + timedelta(days=days) if days <= 3650 else None
