"""The ledger of half-made VMs: each is written here before a restore makes it, and stays until it is whole or gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Boolean, Integer, String, Text, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime


@dataclass(frozen=True, slots=True)
class HalfMadeRecord:
    """``id`` is the mark that the VM bears; ``document`` what is known of it; ``run_id`` the restore that makes it."""

    id: str
    run_id: str
    vcenter_id: str
    document: dict[str, Any]
    created: datetime
    released: bool = False
    tries: int = 0
    last_tried: datetime | None = None
    last_error: str = ""
    reported: datetime | None = None


class HalfMadeRow(Base):
    __tablename__ = "half_made"

    id: Mapped[str] = mapped_column(String(60), primary_key=True)
    run_id: Mapped[str] = mapped_column(String(40))
    vcenter_id: Mapped[str] = mapped_column(String(40))
    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    created: Mapped[datetime] = mapped_column(UtcTime)
    released: Mapped[bool] = mapped_column(Boolean)
    tries: Mapped[int] = mapped_column(Integer)
    last_tried: Mapped[datetime | None] = mapped_column(UtcTime)
    last_error: Mapped[str] = mapped_column(Text)
    reported: Mapped[datetime | None] = mapped_column(UtcTime)


def put_half_made(session: Session, record: HalfMadeRecord) -> None:
    """Durable when the transaction is; the second time it changes the document alone."""
    row = session.get(HalfMadeRow, record.id)
    if row is None:
        values = {slot: getattr(record, slot) for slot in HalfMadeRecord.__dataclass_fields__}
        session.add(HalfMadeRow(**values))
    else:
        row.document, row.released = record.document, False


def find_half_made(session: Session, mark: str) -> HalfMadeRecord | None:
    row = session.get(HalfMadeRow, mark)
    return None if row is None else _record(row)


def half_made(session: Session, run_id: str = "") -> list[HalfMadeRecord]:
    """All, or those of one run, the oldest first."""
    query = select(HalfMadeRow).order_by(HalfMadeRow.created, HalfMadeRow.id)
    if run_id:
        query = query.where(HalfMadeRow.run_id == run_id)
    return [_record(row) for row in session.scalars(query)]


def change_half_made(session: Session, mark: str, values: Mapping[str, Any]) -> None:
    session.execute(update(HalfMadeRow).where(HalfMadeRow.id == mark).values(**values))


def forget_half_made(session: Session, mark: str) -> None:
    """The VM is whole, or surely gone."""
    session.execute(delete(HalfMadeRow).where(HalfMadeRow.id == mark))


def _record(row: HalfMadeRow) -> HalfMadeRecord:
    values: dict[str, Any] = {slot: getattr(row, slot) for slot in HalfMadeRecord.__dataclass_fields__}
    return HalfMadeRecord(**values)
