"""Messages to people: written with what they tell of, sent afterwards, tried again until they arrive."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from vbm.catalog.base import Transaction
from vbm.catalog.channels import ChannelRecord, all_channels
from vbm.catalog.deliveries import (
    DeliveryRecord,
    channel_history,
    claim_delivery,
    due_deliveries,
    end_delivery,
    insert_delivery,
    postpone_delivery,
    prune_deliveries,
)
from vbm.clock import parse_rfc3339
from vbm.errors import VbmError
from vbm.ids import new_id
from vbm.notifications.channels import deliver
from vbm.notifications.events import Event, EventKind
from vbm.notifications.throttle import Told, held_back
from vbm.workflows.doors import Doors

GIVE_UP_AFTER: Final = timedelta(hours=24)
_KEPT: Final = timedelta(days=30)
_CLAIMED: Final = timedelta(minutes=5)
_log = logging.getLogger(__name__)


def emit(session: Transaction, event: Event, document: Mapping[str, Any] | None = None) -> None:
    """Put the event into the outbox of each channel that wants it, within the caller's transaction.

    ``document`` is the job's, whose ``notifications`` name channels besides those that are told of every job.
    """
    kind = event.kind.value
    wanted = {
        notice["channel_id"] for notice in (document or {}).get("notifications", ()) if kind in notice["on"]
    }
    for channel in all_channels(session):
        if kind in channel.events or channel.id in wanted or channel.name in wanted:
            record = DeliveryRecord(
                new_id(event.time), channel.id, event.to_json(), event.time, next_try=event.time
            )
            insert_delivery(session, record)


def send_due(doors: Doors) -> int:
    """Send what is due; how many went out. Raises the catalog's errors only."""
    now = doors.clock.now()
    with doors.catalog.reading() as session:
        due = due_deliveries(session, now)
        channels = {channel.id: channel for channel in all_channels(session)} if due else {}
    sent = 0
    for record in due:
        with doors.catalog.writing() as session:
            if not claim_delivery(session, record, now + _CLAIMED):
                continue
        sent += _send(doors, record, channels.get(record.channel_id))
    return sent


def prune(doors: Doors) -> None:
    """Forget messages that ended a month ago."""
    with doors.catalog.writing() as session:
        prune_deliveries(session, doors.clock.now() - _KEPT)


def _send(doors: Doors, record: DeliveryRecord, channel: ChannelRecord | None) -> bool:
    event = event_from_json(record.event)
    if channel is None:
        return _end(doors, record, "failed", "the channel was removed")
    with doors.catalog.reading() as session:
        history = channel_history(session, channel.id, event.time - timedelta(days=2))
    earlier = [(event_from_json(h.event), h.state == "held") for h in history]
    told = [Told(before.key, before.time, held) for before, held in earlier]
    why = held_back(event, told)
    if why:
        return _end(doors, record, "held", why)
    try:
        error = deliver(doors.channel(channel), event)
    except VbmError as cause:  # the secret can't be unsealed
        error = cause
    if error is None:
        return _end(doors, record, "sent", "")
    _log.warning("channel %s: %s", channel.name, error.message)
    now = doors.clock.now()
    if error.permanent or now - record.created > GIVE_UP_AFTER:
        return _end(doors, record, "failed", error.message)
    wait = timedelta(seconds=min(3600, 15 * 2 ** min(record.tries, 10)))
    with doors.catalog.writing() as session:
        postpone_delivery(session, record.id, error.message, now + wait)
    return False


def _end(doors: Doors, record: DeliveryRecord, state: str, error: str) -> bool:
    with doors.catalog.writing() as session:
        end_delivery(session, record.id, state, error, doors.clock.now())
    return state == "sent"


def event_from_json(document: Mapping[str, Any]) -> Event:
    """The event of a stored message."""
    return Event(
        kind=EventKind(document["event"]),
        message=document["message"],
        time=_time(document["time"]),
        job=document["job"],
        vm=document["vm"],
        run_id=document["run_id"],
        about=document["about"],
        remedy=document["remedy"],
        facts=tuple(document["facts"].items()),
    )


def _time(text: str) -> datetime:
    return parse_rfc3339(text)
