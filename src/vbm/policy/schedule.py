"""When a job runs: cron expressions in a time zone, with a policy for slots that were missed.

Both daylight-saving changes follow Debian's cron: a slot in the hour that does not exist runs once right after
the change; a slot in the hour that comes twice runs once (expressions with ``*`` in minute or hour run on in
real time). The library cronsim knows this; here is what surrounds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from vbm.errors import InputError

DEFAULT_GRACE_SECONDS: Final = 3600
_LONGEST_LOOK_BACK: Final = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Five-field cron in an IANA zone. A slot later than the grace is *missed*: reported, not run."""

    cron: str
    timezone: str = "UTC"
    misfire_grace_seconds: int = DEFAULT_GRACE_SECONDS

    def __post_init__(self) -> None:
        try:
            zone = ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise InputError(
                f"no such time zone: {self.timezone!r}", hint="use an IANA name such as Europe/Paris"
            ) from error
        if self.misfire_grace_seconds < 0:
            raise InputError(f"misfire grace is {self.misfire_grace_seconds} s", hint="use 0 or more")
        try:
            CronSim(self.cron, datetime(2026, 1, 1, tzinfo=zone))
        except CronSimError as error:
            raise InputError(
                f"not a schedule: {self.cron!r} ({error})",
                hint="five fields: minute hour day month weekday, such as '0 3 * * *'",
            ) from error


@dataclass(frozen=True, slots=True)
class Due:
    """``fire``: the one slot to run now, if any; ``missed``: slots before it that never will."""

    fire: datetime | None
    missed: tuple[datetime, ...] = ()


def slots(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """The slots later than ``after``, ascending, in UTC, without end unless the expression ends."""
    local = after.astimezone(ZoneInfo(schedule.timezone))
    return (slot.astimezone(UTC) for slot in CronSim(schedule.cron, local))


def next_runs(schedule: Schedule, after: datetime, count: int) -> list[datetime]:
    """The next ``count`` slots: what a person is shown while editing."""
    return list(islice(slots(schedule, after), count))


def due(schedule: Schedule, last: datetime, now: datetime) -> Due:
    """What is to be done of the slots in ``(last, now]``: the newest within the grace fires, once.

    Several slots within the grace are one run (coalesced); those older than the grace are missed. ``last``
    is the last slot handled, or the time at which the schedule was made or enabled. A ``last`` in the future
    (the clock went back) gives nothing: no slot fires twice. Looks back a year at the most.
    """
    since = max(last, now - _LONGEST_LOOK_BACK)
    passed: list[datetime] = []
    for slot in slots(schedule, since):
        if slot > now:
            break
        passed.append(slot)
    if not passed:
        return Due(None)
    grace = timedelta(seconds=schedule.misfire_grace_seconds)
    if now - passed[-1] <= grace:
        return Due(passed[-1], tuple(slot for slot in passed[:-1] if now - slot > grace))
    return Due(None, tuple(passed))
