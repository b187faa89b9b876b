"""Executions: one time that a job was to run, by schedule or on demand, until it has become runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Index, Integer, String, Text, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime


@dataclass(frozen=True, slots=True)
class ExecutionRecord:
    """``state``: pending until its VMs are known, then started, or failed. ``vms``: only these, one a line."""

    id: str
    job_id: str
    trigger: str  # schedule, manual
    created: datetime
    slot: datetime | None = None
    vms: str = ""
    mode: str = ""
    state: str = "pending"
    tries: int = 0
    not_before: datetime | None = None
    error: str = ""


class ExecutionRow(Base):
    __tablename__ = "executions"
    __table_args__ = (
        Index("ix_executions_state", "state", "id"),
        Index("uq_executions_slot", "job_id", "slot", unique=True),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(String(40))
    trigger: Mapped[str] = mapped_column(String(20))
    created: Mapped[datetime] = mapped_column(UtcTime)
    slot: Mapped[datetime | None] = mapped_column(UtcTime)
    vms: Mapped[str] = mapped_column(Text)
    mode: Mapped[str] = mapped_column(String(10))
    state: Mapped[str] = mapped_column(String(20))
    tries: Mapped[int] = mapped_column(Integer)
    not_before: Mapped[datetime | None] = mapped_column(UtcTime)
    error: Mapped[str] = mapped_column(Text)


def _record(row: ExecutionRow) -> ExecutionRecord:
    values: dict[str, Any] = {slot: getattr(row, slot) for slot in ExecutionRecord.__dataclass_fields__}
    return ExecutionRecord(**values)


def insert_execution(session: Session, record: ExecutionRecord) -> None:
    values = {slot: getattr(record, slot) for slot in ExecutionRecord.__dataclass_fields__}
    session.add(ExecutionRow(**values))
    session.flush()


def find_execution(session: Session, execution_id: str) -> ExecutionRecord | None:
    row = session.get(ExecutionRow, execution_id)
    return None if row is None else _record(row)


def pending_executions(session: Session, now: datetime) -> list[ExecutionRecord]:
    """Those that wait for their VMs to be looked up, the oldest first."""
    ready = (ExecutionRow.not_before.is_(None)) | (ExecutionRow.not_before <= now)
    query = select(ExecutionRow).where(ExecutionRow.state == "pending", ready).order_by(ExecutionRow.id)
    return [_record(row) for row in session.scalars(query)]


def slot_taken(session: Session, job_id: str, slot: datetime) -> bool:
    """Whether that slot of the job has been fired."""
    query = select(ExecutionRow.id).where(ExecutionRow.job_id == job_id, ExecutionRow.slot == slot)
    return session.scalars(query).first() is not None


def claim_execution(session: Session, record: ExecutionRecord, until: datetime) -> bool:
    """Nobody else looks at it before ``until``; False where somebody was first."""
    changed: Any = session.execute(
        update(ExecutionRow)
        .where(
            ExecutionRow.id == record.id, ExecutionRow.state == "pending", ExecutionRow.tries == record.tries
        )
        .values(tries=record.tries + 1, not_before=until)
    )
    return int(changed.rowcount) == 1


def end_execution(session: Session, execution_id: str, state: str, error: str = "") -> bool:
    """It has become runs, or failed; False where it had ended before."""
    changed: Any = session.execute(
        update(ExecutionRow)
        .where(ExecutionRow.id == execution_id, ExecutionRow.state == "pending")
        .values(state=state, error=error)
    )
    return int(changed.rowcount) == 1


def postpone_execution(session: Session, execution_id: str, until: datetime, error: str) -> None:
    session.execute(
        update(ExecutionRow)
        .where(ExecutionRow.id == execution_id, ExecutionRow.state == "pending")
        .values(not_before=until, error=error)
    )
