"""Settings that people change while the product runs: limits for all jobs together, intervals."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base
from vbm.clock import parse_rfc3339, rfc3339
from vbm.errors import InputError

_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
DIGEST_AT: Final = "digest_at"
_DIGEST_SENT: Final = "digest_sent"


@dataclass(frozen=True, slots=True)
class Preferences:
    """How many runs at once: of all, on one vCenter, datastore and repository; 0 means no limit."""

    max_runs: int = 8
    max_runs_per_vcenter: int = 4
    max_runs_per_datastore: int = 2
    max_runs_per_repository: int = 8
    guard_every_seconds: int = 900
    keep_runs_days: int = 400
    gc_every_hours: int = 24


class SettingRow(Base):
    __tablename__ = "settings"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    value: Mapped[Any] = mapped_column(JSON)


def preferences(session: Session) -> Preferences:
    """What is set, defaults elsewhere."""
    known = {f.name for f in fields(Preferences)}
    stored = {row.name: row.value for row in session.scalars(select(SettingRow)) if row.name in known}
    return Preferences(**stored)


def set_preference(session: Session, name: str, value: int) -> None:
    """Raises InputError for a name that is none, or a negative value."""
    if name not in {f.name for f in fields(Preferences)}:
        names = ", ".join(f.name for f in fields(Preferences))
        raise InputError(f"there is no setting {name!r}", hint=f"there are {names}")
    if value < 0:
        raise InputError(f"{name} is {value}", hint="use 0 for no limit, or a count")
    session.merge(SettingRow(name=name, value=value))


def digest_time(session: Session) -> str:
    """When the daily report is sent, as ``HH:MM`` in UTC; empty: never."""
    row = session.get(SettingRow, DIGEST_AT)
    return str(row.value) if row is not None else ""


def set_digest_time(session: Session, at: str, now: datetime) -> None:
    """The first report goes out at the next such time. Raises InputError."""
    if at and _CLOCK.fullmatch(at) is None:
        raise InputError(f"{DIGEST_AT} is {at!r}", hint="use a time of the day in UTC, such as 07:00, or off")
    session.merge(SettingRow(name=DIGEST_AT, value=at))
    note_digest(session, now)


def last_digest(session: Session) -> datetime | None:
    row = session.get(SettingRow, _DIGEST_SENT)
    return parse_rfc3339(str(row.value)) if row is not None else None


def note_digest(session: Session, now: datetime) -> None:
    session.merge(SettingRow(name=_DIGEST_SENT, value=rfc3339(now)))
