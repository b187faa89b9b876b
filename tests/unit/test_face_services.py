"""What the pages are told: the fleet, the forecast, the settings, the condition, restore choices."""

from __future__ import annotations

from datetime import date

from vbm.services.forecast import forecast

GIB = 1024**3


def _storage(free: int, total: int, rate: int, growth: list[tuple[str, int]]) -> dict[str, object]:
    return {
        "repositories": [
            {"free_bytes": free, "total_bytes": total, "volume": "v"},
            {"free_bytes": 0, "total_bytes": 0, "volume": "v"},
        ],
        "growth": [{"date": day, "new_bytes": new, "restore_points": 1} for day, new in growth],
        "new_bytes_per_day": rate,
    }


def test_the_past_is_reckoned_back_from_what_was_added() -> None:
    storage = _storage(60 * GIB, 100 * GIB, GIB, [("2026-11-21", 2 * GIB), ("2026-11-23", 5 * GIB)])
    found = forecast(storage, date(2026, 11, 23), 4)
    assert [(d.day, used // GIB) for d, used in found.past] == [(20, 33), (21, 35), (22, 35), (23, 40)]


def test_the_future_tells_when_the_alarm_line_and_the_end_are_reached() -> None:
    found = forecast(_storage(60 * GIB, 100 * GIB, GIB, []), date(2026, 11, 23), 1)
    assert found.used_percent == 40
    assert found.alarm_on == date(2027, 1, 2)
    assert found.full_on == date(2027, 1, 22)
    assert found.future[0] == (date(2026, 11, 23), 40 * GIB)
    assert max(used for _, used in found.future) <= 100 * GIB


def test_nothing_is_foretold_where_nothing_grows_or_no_store_tells_its_size() -> None:
    still = forecast(_storage(60 * GIB, 100 * GIB, 0, []), date(2026, 11, 23), 1)
    assert (still.alarm_on, still.full_on) == (None, None)
    unknown = forecast(_storage(0, 0, GIB, []), date(2026, 11, 23), 1)
    assert (unknown.full_on, unknown.future, unknown.used_percent) == (None, (), 0)


def test_a_store_past_the_alarm_line_is_past_it_today() -> None:
    found = forecast(_storage(10 * GIB, 100 * GIB, GIB, []), date(2026, 11, 23), 1)
    assert found.alarm_on == date(2026, 11, 23)
