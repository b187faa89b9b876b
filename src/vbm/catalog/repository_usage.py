"""How full each repository's store was when somebody looked last: no page and no scrape opens a store for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, String, Text, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime
from vbm.catalog.repositories import RepositoryRow


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """``total_bytes`` 0 where the store can't tell; ``stored_bytes`` None: the repository was not opened yet.

    ``problem``: why the store could not be looked at. ``volume``: equal for stores that share their space.
    """

    repository_id: str
    looked: datetime
    free_bytes: int = 0
    total_bytes: int = 0
    stored_bytes: int | None = None
    problem: str = ""
    volume: str = ""


class UsageRow(Base):
    __tablename__ = "repository_usage"

    repository_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    looked: Mapped[datetime] = mapped_column(UtcTime)
    free_bytes: Mapped[int] = mapped_column(BigInteger)
    total_bytes: Mapped[int] = mapped_column(BigInteger)
    stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    problem: Mapped[str] = mapped_column(Text)
    volume: Mapped[str] = mapped_column(String(60), server_default="")


def put_usage(session: Session, record: UsageRecord) -> None:
    """What a look has found. Without ``stored_bytes`` that stays as it was."""
    values: dict[str, Any] = {slot: getattr(record, slot) for slot in UsageRecord.__dataclass_fields__}
    if record.stored_bytes is None:
        known = session.get(UsageRow, record.repository_id)
        values["stored_bytes"] = None if known is None else known.stored_bytes
    session.merge(UsageRow(**values))


def all_usage(session: Session) -> dict[str, UsageRecord]:
    """By the catalog's id of the repository."""
    return {
        row.repository_id: UsageRecord(
            **{slot: getattr(row, slot) for slot in UsageRecord.__dataclass_fields__}
        )
        for row in session.scalars(select(UsageRow))
    }


def add_stored(session: Session, repository_id: str, new_bytes: int) -> None:
    """A run has stored so much; the next look counts it."""
    grown = update(UsageRow).where(
        UsageRow.repository_id == repository_id, UsageRow.stored_bytes.is_not(None)
    )
    session.execute(grown.values(stored_bytes=UsageRow.stored_bytes + new_bytes))


def forget_usage(session: Session) -> None:
    """Of repositories that are no longer known."""
    session.execute(delete(UsageRow).where(UsageRow.repository_id.not_in(select(RepositoryRow.id))))
