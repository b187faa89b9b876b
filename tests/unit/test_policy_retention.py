"""Retention by example."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from vbm.errors import InputError
from vbm.ids import RestorePointId
from vbm.policy.retention import Gfs, Point, Rules, plan

NOW = datetime(2026, 11, 23, 3, 30, tzinfo=UTC)


def nightly(count: int) -> list[Point]:
    """One point a night, ``night-0`` the newest."""
    return [
        Point(RestorePointId(f"night-{age}"), NOW - timedelta(days=age, minutes=30))
        for age in reversed(range(count))
    ]


def kept(points: list[Point], rules: Rules) -> list[str]:
    return [decision.point.id for decision in plan(points, rules, NOW).decisions if decision.keep]


def test_no_rule_keeps_everything() -> None:
    assert len(kept(nightly(500), Rules())) == 500


def test_keep_last_keeps_the_newest() -> None:
    assert kept(nightly(10), Rules(keep_last=3)) == ["night-2", "night-1", "night-0"]


def test_keep_days_keeps_by_age_and_never_lets_the_last_good_go() -> None:
    assert kept(nightly(10), Rules(keep_days=2)) == ["night-1", "night-0"]
    old = [Point(RestorePointId("old"), NOW - timedelta(days=400))]
    assert kept(old, Rules(keep_days=2)) == ["old"]


def test_gfs_keeps_the_newest_of_each_period_that_has_points() -> None:
    decided = plan(nightly(800), Rules(gfs=Gfs(daily=2, weekly=2, monthly=3, yearly=2)), NOW)
    reasons = {d.point.id: d.reasons for d in decided.decisions if d.keep}
    assert reasons == {
        "night-0": ("daily", "weekly", "monthly", "yearly", "the last good one"),
        "night-1": ("daily", "weekly"),  # Sunday the 22nd: the newest of its ISO week
        "night-23": ("monthly",),  # 31 October
        "night-54": ("monthly",),  # 30 September
        "night-327": ("yearly",),  # 31 December 2025
    }


def test_damaged_points_do_not_push_good_ones_out() -> None:
    points = nightly(4)
    points[-1] = Point(points[-1].id, points[-1].taken, good=False)
    assert kept(points, Rules(keep_last=2)) == ["night-2", "night-1", "night-0"]


def test_a_negative_count_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="keep_days is -1"):
        Rules(keep_days=-1)
    with pytest.raises(InputError, match=r"gfs\.weekly is -2"):
        Rules(gfs=Gfs(weekly=-2))
