"""What a run told while it worked: one line each, in order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Index, Integer, String, Text, delete, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime


@dataclass(frozen=True, slots=True)
class LogLine:
    """``level``: info or warning."""

    time: datetime
    level: str
    message: str


class RunLogRow(Base):
    __tablename__ = "run_log"
    __table_args__ = (Index("ix_run_log_run", "run_id", "id"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    run_id: Mapped[str] = mapped_column(String(40))
    time: Mapped[datetime] = mapped_column(UtcTime)
    level: Mapped[str] = mapped_column(String(10))
    message: Mapped[str] = mapped_column(Text)


def append_lines(session: Session, run_id: str, lines: Sequence[LogLine]) -> None:
    for line in lines:
        session.add(RunLogRow(run_id=run_id, time=line.time, level=line.level, message=line.message))


def log_lines(session: Session, run_id: str, *, after: int = 0) -> list[tuple[int, LogLine]]:
    """(number, line) after that number, the oldest first."""
    query = select(RunLogRow).where(RunLogRow.run_id == run_id, RunLogRow.id > after).order_by(RunLogRow.id)
    return [(row.id, LogLine(row.time, row.level, row.message)) for row in session.scalars(query)]


def last_lines(session: Session, run_ids: Collection[str]) -> dict[str, int]:
    """By run: the number of the last line that it told."""
    query = select(RunLogRow.run_id, func.max(RunLogRow.id)).where(RunLogRow.run_id.in_(run_ids))
    return {run_id: int(number) for run_id, number in session.execute(query.group_by(RunLogRow.run_id))}


def prune_lines(session: Session, before: datetime) -> None:
    """Forget what was told before then."""
    session.execute(delete(RunLogRow).where(RunLogRow.time < before))
