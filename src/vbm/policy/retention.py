"""Which restore points of one VM stay and which go: a point is kept if any rule keeps it.

Only *good* points count towards a rule, so damaged ones never push good ones out; a damaged point stays as
long as it would stay were it good. Whatever the rules say, kept are: the newest good point, pinned points,
points from the future, and everything while the clock can't be trusted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from vbm.errors import InputError
from vbm.ids import RestorePointId

CLOCK_TOLERANCE: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Gfs:
    """How many days, ISO weeks, months and years keep their newest point; periods without points don't count."""

    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one job. None of them set keeps everything. Calendar periods are of ``timezone``."""

    keep_last: int = 0
    keep_days: int = 0
    gfs: Gfs = Gfs()
    timezone: tzinfo = UTC

    def __post_init__(self) -> None:
        for name, count in self._counts():
            if count < 0:
                raise InputError(f"retention: {name} is {count}", hint="use 0 for no such rule, or a count")

    def _counts(self) -> list[tuple[str, int]]:
        periods = ("daily", "weekly", "monthly", "yearly")
        return [
            ("keep_last", self.keep_last),
            ("keep_days", self.keep_days),
            *((f"gfs.{period}", getattr(self.gfs, period)) for period in periods),
        ]

    @property
    def keeps_everything(self) -> bool:
        return not any(count for _, count in self._counts())


@dataclass(frozen=True, slots=True)
class Point:
    """What a rule needs to know of a restore point. ``taken`` is the time of its snapshot, aware."""

    id: RestorePointId
    taken: datetime
    good: bool = True
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """``reasons`` name every rule that keeps the point; none means that it goes."""

    point: Point
    reasons: tuple[str, ...]

    @property
    def keep(self) -> bool:
        return bool(self.reasons)


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """Decisions, oldest point first. ``held`` says why nothing may go at all, where that is so."""

    decisions: tuple[Decision, ...]
    held: str = ""

    @property
    def drop(self) -> tuple[RestorePointId, ...]:
        return tuple(decision.point.id for decision in self.decisions if not decision.keep)


_PERIODS: Final[dict[str, Callable[[datetime], tuple[int, ...]]]] = {
    "daily": lambda day: (day.year, day.month, day.day),
    "weekly": lambda day: tuple(day.isocalendar()[:2]),
    "monthly": lambda day: (day.year, day.month),
    "yearly": lambda day: (day.year,),
}


def plan(
    points: Iterable[Point], rules: Rules, now: datetime, reference: datetime | None = None
) -> RetentionPlan:
    """Decide for all points of one VM in one repository.

    ``reference`` is a second opinion of the time, such as the vCenter's: where it and ``now`` differ by more
    than an hour the clock jumped, and nothing goes. A newest point from the future holds everything too.
    """
    ordered = sorted(points, key=lambda point: (point.taken, point.id))
    held = _why_held(ordered, now, reference)
    good = [point for point in ordered if point.good and point.taken <= now + CLOCK_TOLERANCE]
    newest_good = good[-1].id if good else None
    kept = _kept_by_rules(good, rules, now)

    def reasons(point: Point) -> tuple[str, ...]:
        found = list(kept.get(point.id, ()))
        if not point.good:
            beside = sorted([*good, point], key=lambda other: (other.taken, other.id))
            found += [
                f"damaged, but {reason}" for reason in _kept_by_rules(beside, rules, now).get(point.id, ())
            ]
        if point.id == newest_good:
            found.append("the last good one")
        if newest_good is None:
            found.append("there is no good one")
        if point.pinned:
            found.append("pinned")
        if point.taken > now + CLOCK_TOLERANCE:
            found.append("from the future")
        if held:
            found.append(held)
        return tuple(found)

    return RetentionPlan(tuple(Decision(point, reasons(point)) for point in ordered), held)


def _why_held(ordered: Sequence[Point], now: datetime, reference: datetime | None) -> str:
    if reference is not None and abs(now - reference) > CLOCK_TOLERANCE:
        return "the clock differs from the vCenter's by more than an hour"
    if any(point.good and point.taken > now + CLOCK_TOLERANCE for point in ordered):
        return "a restore point lies in the future: the clock went back"
    return ""


def _kept_by_rules(good: Sequence[Point], rules: Rules, now: datetime) -> dict[RestorePointId, list[str]]:
    """Reasons by point; ``good`` is ascending by time."""
    kept: dict[RestorePointId, list[str]] = {}

    def keep(point: Point, reason: str) -> None:
        kept.setdefault(point.id, []).append(reason)

    everything = rules.keeps_everything
    for point in good:
        if everything:
            keep(point, "no rule is set")
        if rules.keep_days and now - point.taken <= timedelta(days=rules.keep_days):
            keep(point, f"of the last {rules.keep_days} days")
    for point in good[max(0, len(good) - rules.keep_last) :]:
        keep(point, f"one of the last {rules.keep_last}")
    for period, of in _PERIODS.items():
        for point in _newest_by_period(good, getattr(rules.gfs, period), of, rules.timezone):
            keep(point, period)
    return kept


def _newest_by_period(
    good: Sequence[Point], count: int, of: Callable[[datetime], tuple[int, ...]], zone: tzinfo
) -> list[Point]:
    """The newest point of each of the last ``count`` periods that have any."""
    newest: dict[tuple[int, ...], Point] = {}
    for point in reversed(good):
        newest.setdefault(of(point.taken.astimezone(zone)), point)
        if len(newest) > count:
            newest.popitem()
            break
    return list(newest.values())


def forecast(
    points: Sequence[Point], rules: Rules, now: datetime, upcoming: Iterable[datetime]
) -> dict[RestorePointId, datetime]:
    """When each point will go if the backups at ``upcoming`` (ascending) all succeed: the countdown.

    A point that stays beyond the last of them is not in the answer. Retention runs after each backup.
    """
    known = {point.id for point in points}
    return {
        gone: moment
        for moment, dropped in _departures(points, rules, now, upcoming)
        for gone in dropped & known
    }


def departure(
    point: Point, points: Sequence[Point], rules: Rules, now: datetime, upcoming: Iterable[datetime]
) -> datetime | None:
    """The same for one of the points, with few plans: once it is to go, nothing that comes later keeps it."""
    moments = [now, *upcoming]
    coming = [Point(RestorePointId(f"upcoming-{number}"), moment) for number, moment in enumerate(moments)]

    def gone(number: int) -> bool:
        return point.id in plan([*points, *coming[1 : number + 1]], rules, moments[number]).drop

    if not gone(len(moments) - 1):
        return None
    return moments[bisect_left(range(len(moments)), True, key=gone)]


def _departures(
    points: Sequence[Point], rules: Rules, now: datetime, upcoming: Iterable[datetime]
) -> Iterator[tuple[datetime, set[RestorePointId]]]:
    """(when retention runs, what it drops then)."""
    present = list(points)
    for number, moment in enumerate([now, *upcoming]):
        if number:
            present.append(Point(RestorePointId(f"upcoming-{number}"), moment))
        dropped = set(plan(present, rules, moment).drop)
        yield moment, dropped
        present = [point for point in present if point.id not in dropped]
