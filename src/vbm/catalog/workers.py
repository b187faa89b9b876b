"""Workers and their heartbeats by the database's clock, and leases on work that one of them does at a time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Boolean, Float, Integer, String, Text, delete, func, select, text, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime

_ADVISORY_LOCK = 0x76626F


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """One process. ``id`` is new at every start. ``heartbeat``: seconds since 1970 by the database's clock."""

    id: str
    name: str
    host: str
    pid: int
    process: str  # tells one process from another of the same pid
    slots: int
    started: datetime
    version: str
    heartbeat: float = 0.0
    dead: bool = False
    draining: bool = False
    labels: str = ""


class WorkerRow(Base):
    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(Integer)
    process: Mapped[str] = mapped_column(String(200))
    slots: Mapped[int] = mapped_column(Integer)
    started: Mapped[datetime] = mapped_column(UtcTime)
    version: Mapped[str] = mapped_column(String(40))
    heartbeat: Mapped[float] = mapped_column(Float(53))
    dead: Mapped[bool] = mapped_column(Boolean)
    draining: Mapped[bool] = mapped_column(Boolean)
    labels: Mapped[str] = mapped_column(Text)


class LeaseRow(Base):
    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    holder: Mapped[str] = mapped_column(String(40))
    until: Mapped[float] = mapped_column(Float(53))
    done: Mapped[datetime | None] = mapped_column(UtcTime)


def database_time(session: Session) -> float:
    """Seconds since 1970 by the one clock that all workers share."""
    if session.get_bind().dialect.name == "postgresql":
        return float(session.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    return float(session.execute(text("SELECT (julianday('now') - 2440587.5) * 86400.0")).scalar_one())


def admission_lock(session: Session) -> None:
    """One process at a time decides who takes which run, until its transaction ends."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})


def insert_worker(session: Session, record: WorkerRecord) -> str:
    """Its name: the one wanted, or ``name-2``, ``name-3`` … where one that is not known to be dead has that."""
    admission_lock(session)
    taken = set(session.scalars(select(WorkerRow.name).where(WorkerRow.dead.is_(False))))
    others = (f"{record.name}-{number}" for number in itertools.count(2))
    name = record.name if record.name not in taken else next(n for n in others if n not in taken)
    values: dict[str, Any] = {slot: getattr(record, slot) for slot in WorkerRecord.__dataclass_fields__}
    session.add(WorkerRow(**values | {"name": name, "heartbeat": database_time(session)}))
    session.flush()
    return name


def beat(session: Session, worker_id: str) -> bool:
    """This worker is alive; False where it was declared dead, or is unknown: it must stop at once."""
    changed: Any = session.execute(
        update(WorkerRow)
        .where(WorkerRow.id == worker_id, WorkerRow.dead.is_(False))
        .values(heartbeat=database_time(session))
    )
    return int(changed.rowcount) == 1


def silent_workers(session: Session, ttl_seconds: float) -> list[WorkerRecord]:
    """Those not yet declared dead whose last heartbeat is older."""
    limit = database_time(session) - ttl_seconds
    query = select(WorkerRow).where(WorkerRow.dead.is_(False), WorkerRow.heartbeat < limit)
    return [_record(row) for row in session.scalars(query)]


def bury(session: Session, worker_id: str) -> None:
    """Declare it dead."""
    session.execute(update(WorkerRow).where(WorkerRow.id == worker_id).values(dead=True))


def dead_workers(session: Session) -> list[str]:
    return list(session.scalars(select(WorkerRow.id).where(WorkerRow.dead)))


def set_draining(session: Session, worker_id: str) -> None:
    session.execute(update(WorkerRow).where(WorkerRow.id == worker_id).values(draining=True))


def forget_workers(session: Session, before: float) -> None:
    """Dead ones not heard of since then."""
    session.execute(delete(WorkerRow).where(WorkerRow.dead, WorkerRow.heartbeat < before))


def all_workers(session: Session) -> list[WorkerRecord]:
    """The living first, by name."""
    return [_record(r) for r in session.scalars(select(WorkerRow).order_by(WorkerRow.dead, WorkerRow.name))]


def count_alive(session: Session, ttl_seconds: float) -> int:
    limit = database_time(session) - ttl_seconds
    query = select(func.count()).where(WorkerRow.dead.is_(False), WorkerRow.heartbeat >= limit)
    return int(session.execute(query).scalar_one())


def take_lease(session: Session, name: str, holder: str, seconds: float) -> bool:
    """Hold the lease for so long; False where another worker holds it."""
    admission_lock(session)
    now = database_time(session)
    row = session.get(LeaseRow, name)
    if row is None:
        session.add(LeaseRow(name=name, holder=holder, until=now + seconds, done=None))
        return True
    if row.holder != holder and row.until > now:
        return False
    row.holder, row.until = holder, now + seconds
    return True


def take_turn(
    session: Session, name: str, holder: str, now: datetime, every: timedelta, *, first_waits: bool = False
) -> bool:
    """Whether periodic work is due and this worker is to do it: nobody has begun it for that long.

    ``first_waits``: the first time is one interval after the first question.
    """
    admission_lock(session)
    row = session.get(LeaseRow, name)
    if row is None:
        session.add(LeaseRow(name=name, holder=holder, until=0.0, done=now))
        return not first_waits
    if row.done is not None and row.done <= now < row.done + every:
        return False
    row.holder, row.done = holder, now
    return True


def _record(row: WorkerRow) -> WorkerRecord:
    values: dict[str, Any] = {slot: getattr(row, slot) for slot in WorkerRecord.__dataclass_fields__}
    return WorkerRecord(**values)
