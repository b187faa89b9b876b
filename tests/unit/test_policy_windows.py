"""Backup windows over midnight, over weekends and over daylight-saving changes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from vbm.errors import InputError
from vbm.policy.windows import open_until, opens_at, parse_window


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_window_over_midnight() -> None:
    window = parse_window("22:00-06:00")
    assert open_until(window, at("2026-06-01T23:00")) == at("2026-06-02T06:00")
    assert open_until(window, at("2026-06-02T05:59")) == at("2026-06-02T06:00")
    assert open_until(window, at("2026-06-02T06:00")) is None
    assert opens_at(window, at("2026-06-02T06:00")) == at("2026-06-02T22:00")
    assert opens_at(window, at("2026-06-02T23:00")) == at("2026-06-02T23:00")


def test_the_day_is_that_of_the_opening() -> None:
    friday_night = parse_window("fri 22:00-06:00")
    assert open_until(friday_night, at("2026-06-06T05:00")) == at("2026-06-06T06:00")  # Saturday morning
    assert open_until(friday_night, at("2026-06-05T05:00")) is None
    assert opens_at(friday_night, at("2026-06-06T07:00")) == at("2026-06-12T22:00")


def test_a_whole_day_is_from_midnight_to_midnight() -> None:
    weekend = parse_window("sat,sun 00:00-00:00")
    assert open_until(weekend, at("2026-06-06T12:00")) == at("2026-06-07T00:00")
    assert open_until(weekend, at("2026-06-08T00:00")) is None


def test_local_hours_hold_through_the_change() -> None:
    window = parse_window("01:00-04:00", "Europe/Paris")
    assert open_until(window, at("2026-03-29T00:30")) == at("2026-03-29T02:00")  # 04:00 summer time
    assert open_until(window, at("2026-10-25T02:30")) == at("2026-10-25T03:00")  # 04:00 winter time


@pytest.mark.parametrize("text", ["", "22-", "25:00-06:00", "noon-06:00", "day 22:00-06:00"])
def test_what_is_not_a_window_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="backup window"):
        parse_window(text)
