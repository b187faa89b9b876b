"""Retention against an independent brute-force oracle, and the promises that no rule may break."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from vbm.ids import RestorePointId
from vbm.policy.retention import Gfs, Point, Rules, departure, forecast, plan

NOW = datetime(2026, 7, 15, 12, tzinfo=UTC)
ZONES = ["UTC", "Europe/Paris", "America/New_York", "Pacific/Auckland"]

counts = st.integers(0, 6)
rules = st.builds(
    Rules,
    keep_last=counts,
    keep_days=st.integers(0, 60),
    gfs=st.builds(Gfs, counts, counts, counts, counts),
    timezone=st.sampled_from(ZONES).map(ZoneInfo),
)
hours = st.integers(0, 24 * 900)


@st.composite
def histories(draw: st.DrawFn) -> list[Point]:
    ages = draw(st.lists(hours, max_size=40, unique=True))
    return [
        Point(
            RestorePointId(f"rp-{age:05d}"),
            NOW - timedelta(hours=age),
            good=draw(st.integers(0, 5)) > 0,
            pinned=draw(st.integers(0, 9)) == 0,
        )
        for age in ages
    ]


def oracle(points: list[Point], rule: Rules) -> set[str]:
    """Keep by the words of the documentation, one question a point, with no shared code."""
    good = [p for p in points if p.good]
    kept: set[str] = {p.id for p in points if p.pinned}
    if not good:
        return {p.id for p in points}
    kept.add(max(good, key=lambda p: p.taken).id)
    nothing = not (rule.keep_last or rule.keep_days or rule.gfs != Gfs())
    formats = {"daily": "%Y-%m-%d", "weekly": "%G-%V", "monthly": "%Y-%m", "yearly": "%Y"}
    for p in points:
        beside = [other for other in good if other.id != p.id]
        if nothing or (rule.keep_days and NOW - p.taken <= timedelta(days=rule.keep_days)):
            kept.add(p.id)
        if sum(other.taken > p.taken for other in beside) < rule.keep_last:
            kept.add(p.id)
        for period, form in formats.items():

            def name(q: Point, form: str = form) -> str:
                return q.taken.astimezone(rule.timezone).strftime(form)

            newest = not any(name(other) == name(p) and other.taken > p.taken for other in beside)
            later = {name(other) for other in beside if name(other) > name(p)}
            if newest and len(later) < getattr(rule.gfs, period):
                kept.add(p.id)
    return kept


@settings(max_examples=400)
@given(histories(), rules)
def test_the_plan_keeps_what_the_oracle_keeps(points: list[Point], rule: Rules) -> None:
    decided = plan(points, rule, NOW)
    assert {d.point.id for d in decided.decisions if d.keep} == oracle(points, rule)
    assert {d.point.id for d in decided.decisions} == {p.id for p in points}


@given(histories(), rules, st.sampled_from(["last", "days", "daily", "weekly", "monthly", "yearly"]))
def test_a_longer_rule_never_drops_more(points: list[Point], rule: Rules, which: str) -> None:
    if rule.keeps_everything:
        return
    gfs = {name: getattr(rule.gfs, name) for name in ("daily", "weekly", "monthly", "yearly")}
    if which in gfs:
        gfs[which] += 1
    longer = Rules(
        rule.keep_last + (which == "last"), rule.keep_days + (which == "days"), Gfs(**gfs), rule.timezone
    )
    assert set(plan(points, longer, NOW).drop) <= set(plan(points, rule, NOW).drop)


@given(histories(), rules)
def test_the_last_good_and_the_pinned_always_stay(points: list[Point], rule: Rules) -> None:
    dropped = set(plan(points, rule, NOW).drop)
    good = [p for p in points if p.good]
    if good:
        assert max(good, key=lambda p: p.taken).id not in dropped
    else:
        assert dropped == set()
    assert not dropped & {p.id for p in points if p.pinned}


@given(histories(), rules, st.integers(1, 100_000))
def test_a_clock_that_jumped_drops_nothing(points: list[Point], rule: Rules, jump_hours: int) -> None:
    ahead = plan(points, rule, NOW + timedelta(hours=jump_hours + 1), reference=NOW)
    assert ahead.drop == ()
    assert ahead.held
    future = Point(RestorePointId("future"), NOW + timedelta(hours=jump_hours + 1))
    assert plan([*points, future], rule, NOW).drop == ()


@settings(max_examples=60)
@given(histories(), rules, st.integers(1, 24))
def test_the_countdown_is_what_happens_when_the_backups_succeed(
    points: list[Point], rule: Rules, step: int
) -> None:
    upcoming = [NOW + timedelta(hours=step * number) for number in range(1, 30)]
    foretold = forecast(points, rule, NOW, upcoming)
    present = list(points)
    went: dict[str, datetime] = {}
    for number, moment in enumerate([NOW, *upcoming]):
        if number:
            present.append(Point(RestorePointId(f"new-{number}"), moment))
        for gone in plan(present, rule, moment).drop:
            present = [p for p in present if p.id != gone]
            if gone.startswith("rp-"):
                went[gone] = moment
    assert foretold == went
    assert {p.id: at for p in points if (at := departure(p, points, rule, NOW, upcoming))} == went
