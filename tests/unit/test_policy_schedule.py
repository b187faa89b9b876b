"""Schedules on a clock of our own, across both daylight-saving changes in two zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from vbm.errors import InputError
from vbm.policy.schedule import Due, Schedule, due, next_runs


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fired(schedule: Schedule, start: datetime, hours: int) -> list[datetime]:
    """Every slot that fires when the dispatcher looks once a minute."""
    last, slots = start, []
    for minute in range(1, hours * 60 + 1):
        now = start + timedelta(minutes=minute)
        answer = due(schedule, last, now)
        if answer.fire:
            slots.append(answer.fire)
            last = answer.fire
    return slots


@pytest.mark.parametrize(
    ("zone", "day", "cron", "expected"),
    [
        # Spring: 02:00 → 03:00 local. The slot that does not exist runs once, right after the change.
        ("Europe/Paris", "2026-03-28T12:00", "30 2 * * *", ["2026-03-29T01:00"]),
        ("America/New_York", "2026-03-07T12:00", "30 2 * * *", ["2026-03-08T07:00"]),
        # Autumn: the hour from 02:00 (Paris) or 01:00 (New York) comes twice. The slot runs once.
        ("Europe/Paris", "2026-10-24T12:00", "30 2 * * *", ["2026-10-25T00:30"]),
        ("America/New_York", "2026-10-31T12:00", "30 1 * * *", ["2026-11-01T05:30"]),
        # A slot outside the change keeps its local hour.
        ("Europe/Paris", "2026-03-28T12:00", "0 4 * * *", ["2026-03-29T02:00"]),
        ("Europe/Paris", "2026-10-24T12:00", "0 4 * * *", ["2026-10-25T03:00"]),
    ],
)
def test_a_daily_job_fires_once_on_the_day_of_the_change(
    zone: str, day: str, cron: str, expected: list[str]
) -> None:
    assert fired(Schedule(cron, zone), at(day), 23) == [at(slot) for slot in expected]


@pytest.mark.parametrize(
    ("zone", "day"), [("Europe/Paris", "2026-03-28T22:00"), ("America/New_York", "2026-10-31T22:00")]
)
def test_an_hourly_job_fires_every_real_hour_through_the_change(zone: str, day: str) -> None:
    slots = fired(Schedule("0 * * * *", zone), at(day), 12)
    assert [later - earlier for earlier, later in pairwise(slots)] == [timedelta(hours=1)] * (len(slots) - 1)


def test_a_week_of_pause_resumes_with_one_run() -> None:
    schedule = Schedule("0 3 * * *", "UTC", misfire_grace_seconds=3600)
    answer = due(schedule, at("2026-06-01T03:00"), at("2026-06-08T03:20"))
    assert answer.fire == at("2026-06-08T03:00")
    assert len(answer.missed) == 6


def test_past_the_grace_nothing_fires_and_every_slot_is_missed() -> None:
    answer = due(Schedule("0 3 * * *", "UTC", 600), at("2026-06-01T03:00"), at("2026-06-03T12:00"))
    assert answer == Due(None, (at("2026-06-02T03:00"), at("2026-06-03T03:00")))


def test_slots_within_the_grace_are_one_run() -> None:
    answer = due(Schedule("*/10 * * * *", "UTC", 3600), at("2026-06-01T03:00"), at("2026-06-01T03:35"))
    assert answer == Due(at("2026-06-01T03:30"))


def test_a_clock_that_went_back_fires_nothing_twice() -> None:
    assert due(Schedule("0 * * * *"), at("2026-06-01T05:00"), at("2026-06-01T03:30")) == Due(None)


def test_the_next_runs_are_shown_in_utc() -> None:
    runs = next_runs(Schedule("0 3 * * *", "Europe/Paris"), at("2026-10-24T00:00"), 3)
    assert [run.astimezone(ZoneInfo("Europe/Paris")).hour for run in runs] == [3, 3, 3]
    assert runs == [at("2026-10-24T01:00"), at("2026-10-25T02:00"), at("2026-10-26T02:00")]


@pytest.mark.parametrize(
    ("cron", "zone", "said"),
    [
        ("61 * * * *", "UTC", "not a schedule"),
        ("0 3 * *", "UTC", "not a schedule"),
        ("0 3 * * *", "Mars/Base", "time zone"),
        ("0 3 * * *", "../etc/passwd", "time zone"),
    ],
)
def test_what_is_not_a_schedule_is_refused(cron: str, zone: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Schedule(cron, zone)
