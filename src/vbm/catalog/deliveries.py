"""The outbox: each message for each channel, written with what it tells of, sent afterwards until it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, Integer, String, Text, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """``state``: pending, sent, held (told already, or too many) or failed (given up)."""

    id: str
    channel_id: str
    event: dict[str, Any]
    created: datetime
    next_try: datetime
    state: str = "pending"
    tries: int = 0
    error: str = ""
    ended: datetime | None = None


class DeliveryRow(Base):
    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_due", "state", "next_try"),
        Index("ix_deliveries_channel", "channel_id", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    channel_id: Mapped[str] = mapped_column(String(40))
    event: Mapped[dict[str, Any]] = mapped_column(JSON)
    created: Mapped[datetime] = mapped_column(UtcTime)
    next_try: Mapped[datetime] = mapped_column(UtcTime)
    state: Mapped[str] = mapped_column(String(20))
    tries: Mapped[int] = mapped_column(Integer)
    error: Mapped[str] = mapped_column(Text)
    ended: Mapped[datetime | None] = mapped_column(UtcTime)


def _record(row: DeliveryRow) -> DeliveryRecord:
    values: dict[str, Any] = {slot: getattr(row, slot) for slot in DeliveryRecord.__dataclass_fields__}
    return DeliveryRecord(**values)


def insert_delivery(session: Session, record: DeliveryRecord) -> None:
    values = {slot: getattr(record, slot) for slot in DeliveryRecord.__dataclass_fields__}
    session.add(DeliveryRow(**values))


def due_deliveries(session: Session, now: datetime, limit: int = 100) -> list[DeliveryRecord]:
    query = select(DeliveryRow).where(DeliveryRow.state == "pending", DeliveryRow.next_try <= now)
    return [_record(row) for row in session.scalars(query.order_by(DeliveryRow.id).limit(limit))]


def claim_delivery(session: Session, record: DeliveryRecord, until: datetime) -> bool:
    """Nobody else tries it before ``until``; False where somebody was first."""
    changed: Any = session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.id == record.id, DeliveryRow.state == "pending", DeliveryRow.tries == record.tries)
        .values(tries=record.tries + 1, next_try=until)
    )
    return int(changed.rowcount) == 1


def end_delivery(session: Session, delivery_id: str, state: str, error: str, now: datetime) -> None:
    session.execute(
        update(DeliveryRow).where(DeliveryRow.id == delivery_id).values(state=state, error=error, ended=now)
    )


def postpone_delivery(session: Session, delivery_id: str, error: str, until: datetime) -> None:
    session.execute(
        update(DeliveryRow).where(DeliveryRow.id == delivery_id).values(error=error, next_try=until)
    )


def channel_history(session: Session, channel_id: str, since: datetime) -> list[DeliveryRecord]:
    """What the channel has taken since then, and what was held back, the oldest first."""
    query = select(DeliveryRow).where(
        DeliveryRow.channel_id == channel_id,
        DeliveryRow.created >= since,
        DeliveryRow.state.in_(("sent", "held")),
    )
    return [_record(row) for row in session.scalars(query.order_by(DeliveryRow.id))]


def last_deliveries(session: Session, channel_id: str, limit: int = 20) -> list[DeliveryRecord]:
    query = select(DeliveryRow).where(DeliveryRow.channel_id == channel_id)
    return [_record(row) for row in session.scalars(query.order_by(DeliveryRow.id.desc()).limit(limit))]


def prune_deliveries(session: Session, before: datetime) -> None:
    """Forget what ended before then."""
    session.execute(delete(DeliveryRow).where(DeliveryRow.state != "pending", DeliveryRow.created < before))
