"""Restore points as the repositories hold them: a cache of their manifests for quick lists, never the truth."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Index, String, Text, delete, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime


@dataclass(frozen=True, slots=True)
class PointRecord:
    id: str
    repository_id: str  # the catalog's id of the repository
    vm_uuid: str
    vm_name: str
    vcenter: str
    started: datetime
    finished: datetime
    read_mode: str
    consistency: str
    size_bytes: int
    new_bytes: int
    job_id: str
    run_id: str
    pinned: bool = False
    verified: datetime | None = None


class PointRow(Base):
    __tablename__ = "restore_points"
    __table_args__ = (Index("ix_restore_points_vm", "vm_uuid", "id"),)

    repository_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    vm_uuid: Mapped[str] = mapped_column(String(64))
    vm_name: Mapped[str] = mapped_column(Text)
    vcenter: Mapped[str] = mapped_column(Text)
    started: Mapped[datetime] = mapped_column(UtcTime)
    finished: Mapped[datetime] = mapped_column(UtcTime)
    read_mode: Mapped[str] = mapped_column(String(20))
    consistency: Mapped[str] = mapped_column(String(20))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    new_bytes: Mapped[int] = mapped_column(BigInteger)
    job_id: Mapped[str] = mapped_column(String(40))
    run_id: Mapped[str] = mapped_column(String(60))
    pinned: Mapped[bool] = mapped_column(Boolean)
    verified: Mapped[datetime | None] = mapped_column(UtcTime)


def put_points(session: Session, points: Iterable[PointRecord]) -> None:
    """Store or replace them."""
    for point in points:
        values: dict[str, Any] = {slot: getattr(point, slot) for slot in PointRecord.__dataclass_fields__}
        session.merge(PointRow(**values))
    session.flush()


def replace_points(session: Session, repository_id: str, points: Iterable[PointRecord]) -> int:
    """Exactly these are in the repository; how many."""
    session.execute(delete(PointRow).where(PointRow.repository_id == repository_id))
    found = list(points)
    put_points(session, found)
    return len(found)


def drop_points(session: Session, repository_id: str, ids: Collection[str]) -> None:
    session.execute(delete(PointRow).where(PointRow.repository_id == repository_id, PointRow.id.in_(ids)))


def list_points(session: Session, *, vm_uuid: str = "", repository_id: str = "") -> list[PointRecord]:
    """The newest first."""
    query = select(PointRow)
    if vm_uuid:
        query = query.where(PointRow.vm_uuid == vm_uuid)
    if repository_id:
        query = query.where(PointRow.repository_id == repository_id)
    rows = session.scalars(query.order_by(PointRow.id.desc()))
    return [
        PointRecord(**{slot: getattr(row, slot) for slot in PointRecord.__dataclass_fields__}) for row in rows
    ]
