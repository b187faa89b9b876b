"""Enough but not too much: the same thing is told once, and a storm becomes a count. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from vbm.notifications.events import Event, EventKind

_DAILY: Final = {EventKind.SNAPSHOT_LEFT, EventKind.REPOSITORY_FULL}
_ALWAYS: Final = {EventKind.SNAPSHOT_GONE, EventKind.TEST, EventKind.DIGEST}


@dataclass(frozen=True, slots=True)
class Told:
    """A message that a channel took, or one that was held back."""

    key: tuple[str, str, str, str]
    time: datetime
    held_back: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """The same key again within ``repeat`` is held back; more than ``per_hour`` messages are too.

    A snapshot left behind and a full repository are told once a day until they are gone.
    """

    repeat: timedelta = timedelta(hours=1)
    daily: timedelta = timedelta(hours=24)
    per_hour: int = 60


def held_back(event: Event, history: Sequence[Told], limits: Limits = Limits()) -> str:
    """Why this event is not sent now on a channel with that history, or an empty text: it is sent.

    Alarms about snapshots are never lost to the limit per hour. ``history`` needs the last day only.
    """
    if event.kind in _ALWAYS:
        return ""
    sent = [told for told in history if not told.held_back]
    repeat = limits.daily if event.kind in _DAILY else limits.repeat
    if any(told.key == event.key and event.time - told.time < repeat for told in sent):
        return "told already"
    if event.kind is EventKind.SNAPSHOT_LEFT:
        return ""
    if sum(event.time - told.time < timedelta(hours=1) for told in sent) >= limits.per_hour:
        return "too many messages this hour"
    return ""
