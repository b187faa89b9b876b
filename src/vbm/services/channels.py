"""Notification channels: add, list, test, remove. Addresses carry passwords, so they are sealed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from vbm.catalog.channels import (
    ChannelRecord,
    all_channels,
    channel_by_name,
    delete_channel,
    insert_channel,
    replace_channel,
)
from vbm.catalog.deliveries import DeliveryRecord, last_deliveries
from vbm.catalog.locks import one_at_a_time
from vbm.catalog.names import checked_name
from vbm.errors import InputError
from vbm.ids import new_id
from vbm.notifications.channels import Channel, open_sender
from vbm.notifications.events import Event, EventKind
from vbm.policy.job import DEFAULT_EVENTS, EVENTS
from vbm.services import identity, trail
from vbm.services.conditions import anything
from vbm.services.workspace import Workspace


@dataclass(frozen=True, slots=True)
class NewChannel:
    """``events``: what it is told of every job; empty for a channel that only jobs name."""

    name: str
    url: str = field(repr=False)
    kind: str = "apprise"
    secret: str = field(default="", repr=False)
    events: Sequence[str] = DEFAULT_EVENTS
    allow_loopback: bool = True


def add(workspace: Workspace, new: NewChannel) -> ChannelRecord:
    """Remember a channel whose address can be one; nothing is sent. Raises InputError."""
    identity.require_everywhere("add channels")
    name = checked_name(new.name)
    _check_events(new.events)
    open_sender(Channel(name, new.url, new.kind, new.secret, allow_loopback=new.allow_loopback))
    now = workspace.clock.now()
    record_id = new_id(now)
    record = ChannelRecord(
        id=record_id,
        name=name,
        kind=new.kind,
        shown=_shown(new.url),
        events=tuple(new.events),
        allow_loopback=new.allow_loopback,
        created=now,
        sealed_url=workspace.vault.seal(new.url, _context(record_id, "url")),
        sealed_secret=workspace.vault.seal(new.secret, _context(record_id, "secret")) if new.secret else "",
    )
    with workspace.catalog.writing() as session:
        insert_channel(session, record)
        trail.note(workspace, session, "channel.add", name, {"kind": new.kind, "events": list(new.events)})
    return record


def _check_events(events: Sequence[str]) -> None:
    unknown = [event for event in events if event not in EVENTS]
    if unknown:
        raise InputError(f"there is no event {unknown[0]!r}", hint=f"use some of {', '.join(EVENTS)}")


@dataclass(frozen=True, slots=True)
class ChannelChange:
    """None: it stays. An empty ``secret``: no signature any more."""

    name: str | None = None
    url: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    events: Sequence[str] | None = None


def change(
    workspace: Workspace,
    name: str,
    wanted: ChannelChange,
    condition: Callable[[ChannelRecord], None] = anything,
) -> ChannelRecord:
    """Another name, address, secret or choice of events; nothing is sent. Raises InputError, NameTakenError."""
    identity.require_everywhere("change channels")
    _check_events(wanted.events or ())
    with workspace.catalog.writing() as session:
        one_at_a_time(session, "channel")
        old = channel_by_name(session, name)
        condition(old)
        was = opened(workspace, old)
        now = replace(
            was,
            name=checked_name(wanted.name if wanted.name is not None else old.name),
            url=was.url if wanted.url is None else wanted.url,
            secret=was.secret if wanted.secret is None else wanted.secret,
        )
        open_sender(now)
        seal = workspace.vault.seal
        new = replace(
            old,
            name=now.name,
            shown=_shown(now.url),
            events=old.events if wanted.events is None else tuple(wanted.events),
            sealed_url=seal(now.url, _context(old.id, "url")) if now.url != was.url else old.sealed_url,
            sealed_secret=old.sealed_secret,
        )
        if now.secret != was.secret:
            new = replace(
                new, sealed_secret=seal(now.secret, _context(old.id, "secret")) if now.secret else ""
            )
        replace_channel(session, new)
        detail = {"url": now.url != was.url, "secret": now.secret != was.secret, "events": list(new.events)}
        trail.note(workspace, session, "channel.change", new.name, detail)
    return new


def listing(workspace: Workspace) -> list[ChannelRecord]:
    """Every channel, by name."""
    with workspace.catalog.reading() as session:
        return all_channels(session)


def get(workspace: Workspace, name: str) -> ChannelRecord:
    """The channel of that name or id. Raises UnknownNameError."""
    with workspace.catalog.reading() as session:
        return channel_by_name(session, name)


def messages(workspace: Workspace, channel_id: str, limit: int = 20) -> list[DeliveryRecord]:
    """Its last messages and what became of them, the newest first."""
    with workspace.catalog.reading() as session:
        return last_deliveries(session, channel_id, limit)


def remove(
    workspace: Workspace, name: str, condition: Callable[[ChannelRecord], None] = anything
) -> ChannelRecord:
    """Forget it; what waits for it is not sent."""
    identity.require_everywhere("remove channels")
    with workspace.catalog.writing() as session:
        record = channel_by_name(session, name)
        condition(record)
        delete_channel(session, record.id)
        trail.note(workspace, session, "channel.remove", record.name)
    return record


def test(workspace: Workspace, name: str) -> ChannelRecord:
    """Send a real message now. Raises DeliveryFailedError, DeliveryRefusedError."""
    identity.require_everywhere("test channels")
    record = get(workspace, name)
    event = Event(
        kind=EventKind.TEST,
        message="This is a test message. If you can read it, the channel works.",
        time=workspace.clock.now(),
        about=record.name,
    )
    open_sender(opened(workspace, record)).send(event)
    return record


def opened(workspace: Workspace, record: ChannelRecord) -> Channel:
    """The channel with its address and secret."""
    secret = record.sealed_secret
    return Channel(
        name=record.name,
        url=workspace.vault.unseal(record.sealed_url, _context(record.id, "url")),
        kind=record.kind,
        secret=workspace.vault.unseal(secret, _context(record.id, "secret")) if secret else "",
        allow_loopback=record.allow_loopback,
    )


def _shown(url: str) -> str:
    """The address without what might be secret in it: scheme and host."""
    parts = urlsplit(url)
    plain = parts.scheme in {"http", "https", "mailto", "mailtos"}
    return f"{parts.scheme}://{(parts.hostname or '…') if plain else '…'}/…"


def _context(record_id: str, part: str) -> str:
    return f"channel/{record_id}/{part}"
