"""The same thing is told once; storms become a count; alarms about snapshots get through."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from vbm.notifications.events import Event, EventKind
from vbm.notifications.render import render
from vbm.notifications.throttle import Told, held_back

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def event(kind: EventKind, vm: str = "web01") -> Event:
    return Event(kind, "said", NOW, vm=vm)


def told(of: Event, minutes_ago: int, *, held: bool = False) -> Told:
    return Told(of.key, NOW - timedelta(minutes=minutes_ago), held)


def test_the_same_again_within_the_hour_is_held_back() -> None:
    failure = event(EventKind.FAILURE)
    assert held_back(failure, [told(failure, 30)]) == "told already"
    assert held_back(failure, [told(failure, 61)]) == ""
    assert held_back(failure, [told(failure, 30, held=True)]) == ""
    assert held_back(event(EventKind.FAILURE, "db01"), [told(failure, 30)]) == ""


def test_a_snapshot_left_behind_is_told_daily_and_its_end_at_once() -> None:
    left = event(EventKind.SNAPSHOT_LEFT)
    assert held_back(left, [told(left, 23 * 60)]) == "told already"
    assert held_back(left, [told(left, 24 * 60)]) == ""
    gone = event(EventKind.SNAPSHOT_GONE)
    assert held_back(gone, [told(gone, 1)]) == ""


def test_a_storm_is_held_back_but_not_the_alarm() -> None:
    storm = [told(event(EventKind.FAILURE, f"vm{number}"), number % 60) for number in range(60)]
    assert held_back(event(EventKind.FAILURE, "other"), storm) == "too many messages this hour"
    assert held_back(event(EventKind.SNAPSHOT_LEFT, "other"), storm) == ""


def test_a_subject_is_one_line_whatever_a_vm_is_called() -> None:
    subject = render(event(EventKind.FAILURE, "evil\r\nBcc: x@example.org\x00")).subject
    assert "\n" not in subject
    assert "\r" not in subject
    assert subject.startswith("[vbm] Failed: evil")
