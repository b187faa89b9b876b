"""The audit trail: who did what to what, each entry sealed to the one before by its hash.

Hash: SHA-256 over the previous hash and the entry as compact sorted JSON. An entry that is changed, removed from
the middle or put in breaks the chain there; one cut off at the end is told only by comparing the last hash with a
copy kept elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, Integer, String, Text, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime
from vbm.clock import rfc3339

FIRST_HASH: Final = "0" * 64
_ADVISORY_LOCK: Final = 0x76626E


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """``actor``: who, such as ``cli:root``; ``action``: ``job.create``; ``target``: the thing's name.

    ``source``: from where, an address or empty for the command line; ``result``: empty where it was done, else the
    code of the error that refused it.
    """

    time: datetime
    actor: str
    action: str
    target: str
    detail: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    hash: str = ""
    source: str = ""
    result: str = ""


class AuditRow(Base):
    __tablename__ = "audit"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    time: Mapped[datetime] = mapped_column(UtcTime)
    actor: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(60))
    target: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)
    source: Mapped[str] = mapped_column(String(100))
    result: Mapped[str] = mapped_column(String(40))
    hash: Mapped[str] = mapped_column(String(64))


def _hash(previous: str, entry: AuditEntry, number: int) -> str:
    document = {
        "number": number,
        "time": rfc3339(entry.time),
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "detail": entry.detail,
    } | {name: value for name, value in (("source", entry.source), ("result", entry.result)) if value}
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(f"{previous}\n{canonical}".encode()).hexdigest()


def append_entry(session: Session, entry: AuditEntry) -> None:
    """Write it within the transaction of what it tells of."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    last = session.scalars(select(AuditRow).order_by(AuditRow.number.desc()).limit(1)).first()
    number, previous = (last.number + 1, last.hash) if last else (1, FIRST_HASH)
    session.add(
        AuditRow(
            number=number,
            time=entry.time,
            actor=entry.actor,
            action=entry.action,
            target=entry.target,
            detail=entry.detail,
            source=entry.source,
            result=entry.result,
            hash=_hash(previous, entry, number),
        )
    )
    session.flush()


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """``before`` is the number at which the last page ended; empty fields match all. ``action`` is a beginning."""

    before: int = 0
    limit: int = 100
    actor: str = ""
    action: str = ""
    target: str = ""
    since: datetime | None = None


def entries(session: Session, wanted: AuditFilter) -> list[AuditEntry]:
    """The newest first."""
    query = select(AuditRow).order_by(AuditRow.number.desc()).limit(wanted.limit)
    if wanted.before:
        query = query.where(AuditRow.number < wanted.before)
    if wanted.actor:
        query = query.where(AuditRow.actor.contains(wanted.actor, autoescape=True))
    if wanted.action:
        query = query.where(AuditRow.action.startswith(wanted.action, autoescape=True))
    if wanted.target:
        query = query.where(AuditRow.target.contains(wanted.target, autoescape=True))
    if wanted.since is not None:
        query = query.where(AuditRow.time >= wanted.since)
    return [_entry(row) for row in session.scalars(query)]


@dataclass(frozen=True, slots=True)
class Verdict:
    """``broken_at``: the number of the first entry that does not fit, 0 where the chain is whole."""

    count: int
    broken_at: int
    last_hash: str


def verify(session: Session) -> Verdict:
    """Walk the whole chain."""
    previous, count = FIRST_HASH, 0
    for row in session.scalars(select(AuditRow).order_by(AuditRow.number).execution_options(yield_per=1000)):
        count += 1
        if row.number != count or row.hash != _hash(previous, _entry(row), count):
            return Verdict(count, row.number, previous)
        previous = row.hash
    return Verdict(count, 0, previous)


def _entry(row: AuditRow) -> AuditEntry:
    return AuditEntry(
        row.time,
        row.actor,
        row.action,
        row.target,
        row.detail,
        row.number,
        row.hash,
        row.source,
        row.result,
    )
