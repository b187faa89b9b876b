"""Notification channels: where people are told, each with its sealed address."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Boolean, String, Text, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime
from vbm.catalog.errors import NameTakenError
from vbm.catalog.names import name_key, unknown_name


@dataclass(frozen=True, slots=True)
class ChannelRecord:
    """``events``: told of every job; a job may name the channel for more. ``shown``: the address without secrets."""

    id: str
    name: str
    kind: str  # apprise, webhook
    shown: str
    events: tuple[str, ...]
    allow_loopback: bool
    created: datetime
    sealed_url: str = field(repr=False)
    sealed_secret: str = field(repr=False, default="")


class ChannelRow(Base):
    __tablename__ = "channels"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    name_key: Mapped[str] = mapped_column(String(400), unique=True)
    kind: Mapped[str] = mapped_column(String(20))
    shown: Mapped[str] = mapped_column(Text)
    events: Mapped[list[str]] = mapped_column(JSON)
    allow_loopback: Mapped[bool] = mapped_column(Boolean)
    created: Mapped[datetime] = mapped_column(UtcTime)
    sealed_url: Mapped[str] = mapped_column(Text)
    sealed_secret: Mapped[str] = mapped_column(Text)


def _record(row: ChannelRow) -> ChannelRecord:
    values: dict[str, Any] = {slot: getattr(row, slot) for slot in ChannelRecord.__dataclass_fields__}
    return ChannelRecord(**values | {"events": tuple(row.events)})


def all_channels(session: Session) -> list[ChannelRecord]:
    """Every channel, by name."""
    return [_record(row) for row in session.scalars(select(ChannelRow).order_by(ChannelRow.name_key))]


def channel_by_name(session: Session, name: str) -> ChannelRecord:
    """The channel of that name or id. Raises UnknownNameError with the nearest name."""
    matches = (ChannelRow.name_key == name_key(name)) | (ChannelRow.id == name)
    row = session.scalars(select(ChannelRow).where(matches)).first()
    if row is None:
        known = session.scalars(select(ChannelRow.name))
        raise unknown_name("channel", name, known, "add one: vbm channel add NAME --url-env VAR")
    return _record(row)


def insert_channel(session: Session, record: ChannelRecord) -> None:
    """Store a new channel. Raises NameTakenError."""
    session.add(ChannelRow(**_values(session, record)))
    session.flush()


def replace_channel(session: Session, record: ChannelRecord) -> None:
    """Store a changed channel. Raises NameTakenError."""
    session.execute(update(ChannelRow).where(ChannelRow.id == record.id).values(**_values(session, record)))


def _values(session: Session, record: ChannelRecord) -> dict[str, Any]:
    key = name_key(record.name)
    other = select(ChannelRow.id).where(ChannelRow.name_key == key, ChannelRow.id != record.id)
    if session.scalars(other).first() is not None:
        raise NameTakenError(f"there is a channel named {record.name!r} already", hint="choose another name")
    values: dict[str, Any] = {slot: getattr(record, slot) for slot in ChannelRecord.__dataclass_fields__}
    return values | {"events": list(record.events), "name_key": key}


def delete_channel(session: Session, channel_id: str) -> None:
    session.execute(delete(ChannelRow).where(ChannelRow.id == channel_id))
