"""Requests that carry a key of their own, so that one sent twice is carried out once: what became of each.

``state``: *pending* while it is worked on, *applied* as soon as it has changed something (written in the transaction of
that change), *done* with its answer, which is sealed. A row outlives the server; ``prune_requests`` ends it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Index, Integer, String, Text, delete, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """``id``: a hash of who asks and of the key; ``fingerprint``: of route and body. ``until``: who works on it may."""

    id: str
    fingerprint: str
    created: datetime
    until: datetime
    state: str = "pending"
    target: str = ""
    status: int = 0
    sealed_answer: str = field(repr=False, default="")


class RequestRow(Base):
    __tablename__ = "idempotent_requests"
    __table_args__ = (Index("ix_idempotent_requests_created", "created"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime] = mapped_column(UtcTime)
    until: Mapped[datetime] = mapped_column(UtcTime)
    state: Mapped[str] = mapped_column(String(10))
    target: Mapped[str] = mapped_column(Text)
    status: Mapped[int] = mapped_column(Integer)
    sealed_answer: Mapped[str] = mapped_column(Text)


def find_request(session: Session, request_id: str) -> RequestRecord | None:
    row = session.get(RequestRow, request_id)
    if row is None:
        return None
    values: dict[str, Any] = {slot: getattr(row, slot) for slot in RequestRecord.__dataclass_fields__}
    return RequestRecord(**values)


def put_request(session: Session, record: RequestRecord) -> None:
    """Store it, in place of one of that id."""
    values: dict[str, Any] = {slot: getattr(record, slot) for slot in RequestRecord.__dataclass_fields__}
    session.merge(RequestRow(**values))
    session.flush()


def mark_applied(session: Session, request_id: str, target: str) -> None:
    """It has changed something: in the transaction of the caller, so that both are kept, or neither."""
    waiting = (RequestRow.id == request_id) & (RequestRow.state == "pending")
    session.execute(update(RequestRow).where(waiting).values(state="applied", target=target))


def answer_request(session: Session, request_id: str, status: int, sealed_answer: str) -> None:
    values = {"state": "done", "status": status, "sealed_answer": sealed_answer}
    session.execute(update(RequestRow).where(RequestRow.id == request_id).values(**values))


def give_up_request(session: Session, request_id: str, now: datetime) -> None:
    """Nobody works on it any more: forget it, unless it has changed something."""
    one = RequestRow.id == request_id
    session.execute(delete(RequestRow).where(one, RequestRow.state == "pending"))
    session.execute(update(RequestRow).where(one, RequestRow.state == "applied").values(until=now))


def prune_requests(session: Session, before: datetime) -> None:
    """Forget those that came before then."""
    session.execute(delete(RequestRow).where(RequestRow.created < before))
