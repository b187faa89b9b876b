"""The ledger of snapshots: every one of ours is written here before it is made, and stays until it is surely gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Index, Integer, String, Text, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime
from vbm.catalog.vm_places import within
from vbm.policy.scope import EVERYWHERE, Scope


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """``run_id``: the run that made it. ``released``: that run is over and could not remove it.

    ``reported``: when people were told last that it was left behind.
    """

    name: str
    run_id: str
    engine_run_id: str
    job_name: str
    vcenter_id: str
    vcenter_name: str
    vcenter_uuid: str
    vm_moref: str
    vm_uuid: str
    vm_name: str
    repository_id: str
    created: datetime
    timeout_seconds: int
    released: bool = False
    tries: int = 0
    last_tried: datetime | None = None
    last_error: str = ""
    reported: datetime | None = None
    datastores: str = ""


class SnapshotRow(Base):
    __tablename__ = "snapshots"
    __table_args__ = (Index("ix_snapshots_vm", "vm_uuid"), Index("ix_snapshots_vcenter", "vcenter_id"))

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    run_id: Mapped[str] = mapped_column(String(40))
    engine_run_id: Mapped[str] = mapped_column(String(60))
    job_name: Mapped[str] = mapped_column(String(200))
    vcenter_id: Mapped[str] = mapped_column(String(40))
    vcenter_name: Mapped[str] = mapped_column(String(200))
    vcenter_uuid: Mapped[str] = mapped_column(String(64))
    vm_moref: Mapped[str] = mapped_column(String(80))
    vm_uuid: Mapped[str] = mapped_column(String(64))
    vm_name: Mapped[str] = mapped_column(Text)
    repository_id: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime] = mapped_column(UtcTime)
    timeout_seconds: Mapped[int] = mapped_column(Integer)
    released: Mapped[bool] = mapped_column(Boolean)
    tries: Mapped[int] = mapped_column(Integer)
    last_tried: Mapped[datetime | None] = mapped_column(UtcTime)
    last_error: Mapped[str] = mapped_column(Text)
    reported: Mapped[datetime | None] = mapped_column(UtcTime)
    datastores: Mapped[str] = mapped_column(Text)


def _record(row: SnapshotRow) -> SnapshotRecord:
    values: dict[str, Any] = {slot: getattr(row, slot) for slot in SnapshotRecord.__dataclass_fields__}
    return SnapshotRecord(**values)


def record_snapshot(session: Session, record: SnapshotRecord) -> None:
    """Durable when the transaction is; the second time it changes nothing but the release."""
    row = session.get(SnapshotRow, record.name)
    if row is None:
        values = {slot: getattr(record, slot) for slot in SnapshotRecord.__dataclass_fields__}
        session.add(SnapshotRow(**values))
    else:
        row.released = False


def find_snapshot(session: Session, name: str) -> SnapshotRecord | None:
    row = session.get(SnapshotRow, name)
    return None if row is None else _record(row)


def forget_snapshot(session: Session, name: str) -> None:
    """It is surely gone, or was never made."""
    session.execute(delete(SnapshotRow).where(SnapshotRow.name == name))


def change_snapshot(session: Session, name: str, values: Mapping[str, Any]) -> None:
    session.execute(update(SnapshotRow).where(SnapshotRow.name == name).values(**values))


def outstanding(
    session: Session, vcenter_id: str | None = None, scope: Scope = EVERYWHERE
) -> list[SnapshotRecord]:
    """Every snapshot that may exist, of one vCenter or of all, the oldest first."""
    query = select(SnapshotRow).where(within(scope, SnapshotRow.vcenter_id, SnapshotRow.vm_uuid))
    query = query.order_by(SnapshotRow.created, SnapshotRow.name)
    if vcenter_id is not None:
        query = query.where(SnapshotRow.vcenter_id == vcenter_id)
    return [_record(row) for row in session.scalars(query)]
