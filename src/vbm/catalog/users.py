"""Users of the web and the API, their sessions and API keys. Passwords, cookies and keys are kept as hashes only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Boolean, Index, Integer, String, Text, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime
from vbm.catalog.errors import NameTakenError
from vbm.catalog.names import name_key, unknown_name


@dataclass(frozen=True, slots=True)
class UserRecord:
    """``source``: local or oidc. ``scope``: places that the user is limited to; empty: all.

    ``subject``: whom the identity provider means.
    """

    id: str
    name: str
    role: str
    created: datetime
    source: str = "local"
    disabled: bool = False
    scope: tuple[str, ...] = ()
    last_seen: datetime | None = None
    password_hash: str = field(repr=False, default="")
    sealed_totp: str = field(repr=False, default="")
    recovery_hashes: tuple[str, ...] = field(repr=False, default=())
    totp_step: int = 0  # the last time step whose code was used: none is taken twice
    subject: str = ""

    @property
    def has_second_factor(self) -> bool:
        return bool(self.sealed_totp)


class UserRow(Base):
    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    name_key: Mapped[str] = mapped_column(String(400), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    created: Mapped[datetime] = mapped_column(UtcTime)
    source: Mapped[str] = mapped_column(String(20))
    disabled: Mapped[bool] = mapped_column(Boolean)
    scope: Mapped[list[str]] = mapped_column(JSON)
    last_seen: Mapped[datetime | None] = mapped_column(UtcTime)
    password_hash: Mapped[str] = mapped_column(Text)
    sealed_totp: Mapped[str] = mapped_column(Text)
    recovery_hashes: Mapped[list[str]] = mapped_column(JSON)
    totp_step: Mapped[int] = mapped_column(Integer)
    subject: Mapped[str] = mapped_column(Text, server_default="")


_TUPLES = ("scope", "recovery_hashes")


def _record(row: UserRow) -> UserRecord:
    values: dict[str, Any] = {slot: getattr(row, slot) for slot in UserRecord.__dataclass_fields__}
    return UserRecord(**values | {name: tuple(values[name]) for name in _TUPLES})


def all_users(session: Session) -> list[UserRecord]:
    """Every user, by name."""
    return [_record(row) for row in session.scalars(select(UserRow).order_by(UserRow.name_key))]


def any_user(session: Session) -> bool:
    return session.scalars(select(UserRow.id).limit(1)).first() is not None


def find_user(session: Session, given: str) -> UserRecord | None:
    """The user of that name or id."""
    matches = (UserRow.name_key == name_key(given)) | (UserRow.id == given)
    row = session.scalars(select(UserRow).where(matches)).first()
    return None if row is None else _record(row)


def find_subject(session: Session, subject: str) -> UserRecord | None:
    """The user whom an identity provider means."""
    wanted = (UserRow.source == "oidc") & (UserRow.subject == subject)
    row = session.scalars(select(UserRow).where(wanted)).first()
    return None if row is None else _record(row)


def user_by_name(session: Session, name: str) -> UserRecord:
    """Raises UnknownNameError with the nearest name."""
    found = find_user(session, name)
    if found is None:
        known = session.scalars(select(UserRow.name))
        raise unknown_name("user", name, known, "add one: vbm user add NAME --role ROLE --password-env VAR")
    return found


def insert_user(session: Session, record: UserRecord) -> None:
    """Store a new user. Raises NameTakenError."""
    if find_user(session, record.name) is not None:
        raise NameTakenError(f"there is a user named {record.name!r} already", hint="choose another name")
    values = {slot: getattr(record, slot) for slot in UserRecord.__dataclass_fields__}
    values |= {name: list(values[name]) for name in _TUPLES}
    session.add(UserRow(**values, name_key=name_key(record.name)))
    session.flush()


def change_user(session: Session, user_id: str, values: dict[str, Any]) -> None:
    session.execute(update(UserRow).where(UserRow.id == user_id).values(**values))


def delete_user(session: Session, user_id: str) -> None:
    """The user, and with it its sessions and keys."""
    for table in (WebSessionRow, ApiKeyRow):
        session.execute(delete(table).where(table.user_id == user_id))
    session.execute(delete(UserRow).where(UserRow.id == user_id))


def count_admins(session: Session) -> int:
    """Those who can sign in and are limited to nothing: only they manage users."""
    wanted = (UserRow.role == "admin") & UserRow.disabled.is_(False)
    return sum(1 for scope in session.scalars(select(UserRow.scope).where(wanted)) if not scope)


# --- sessions


@dataclass(frozen=True, slots=True)
class WebSessionRecord:
    """One signed-in browser. ``csrf`` must come back with every change it asks for."""

    id: str  # the hash of its cookie
    user_id: str
    csrf: str
    address: str
    agent: str
    created: datetime
    last_seen: datetime


class WebSessionRow(Base):
    __tablename__ = "web_sessions"
    __table_args__ = (Index("ix_web_sessions_user", "user_id"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(40))
    csrf: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(100))
    agent: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(UtcTime)
    last_seen: Mapped[datetime] = mapped_column(UtcTime)


def insert_web_session(session: Session, record: WebSessionRecord) -> None:
    values = {slot: getattr(record, slot) for slot in WebSessionRecord.__dataclass_fields__}
    session.add(WebSessionRow(**values))
    session.flush()


def find_web_session(session: Session, session_id: str) -> WebSessionRecord | None:
    row = session.get(WebSessionRow, session_id)
    return None if row is None else _session_record(row)


def web_sessions_of(session: Session, user_id: str) -> list[WebSessionRecord]:
    """The most recently used first."""
    query = select(WebSessionRow).where(WebSessionRow.user_id == user_id)
    return [_session_record(row) for row in session.scalars(query.order_by(WebSessionRow.last_seen.desc()))]


def _session_record(row: WebSessionRow) -> WebSessionRecord:
    return WebSessionRecord(**{slot: getattr(row, slot) for slot in WebSessionRecord.__dataclass_fields__})


def touch_web_session(session: Session, session_id: str, now: datetime) -> None:
    session.execute(update(WebSessionRow).where(WebSessionRow.id == session_id).values(last_seen=now))


def delete_web_session(session: Session, session_id: str) -> None:
    session.execute(delete(WebSessionRow).where(WebSessionRow.id == session_id))


def delete_web_sessions_of(session: Session, user_id: str, *, but: str = "") -> None:
    matches = (WebSessionRow.user_id == user_id) & (WebSessionRow.id != but)
    session.execute(delete(WebSessionRow).where(matches))


def prune_web_sessions(session: Session, idle_before: datetime, created_before: datetime) -> None:
    old = (WebSessionRow.last_seen < idle_before) | (WebSessionRow.created < created_before)
    session.execute(delete(WebSessionRow).where(old))


# --- API keys


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """``hash`` of a key that was shown once. It acts as its own role, never more than its owner's."""

    id: str
    name: str
    user_id: str  # who made it; empty: made at the command line
    role: str
    created: datetime
    expires: datetime | None = None
    last_used: datetime | None = None
    scope: tuple[str, ...] = ()
    hash: str = field(repr=False, default="")


class ApiKeyRow(Base):
    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    user_id: Mapped[str] = mapped_column(String(40))
    role: Mapped[str] = mapped_column(String(20))
    created: Mapped[datetime] = mapped_column(UtcTime)
    expires: Mapped[datetime | None] = mapped_column(UtcTime)
    last_used: Mapped[datetime | None] = mapped_column(UtcTime)
    scope: Mapped[list[str]] = mapped_column(JSON)
    hash: Mapped[str] = mapped_column(String(64), unique=True)


def _key_record(row: ApiKeyRow) -> ApiKeyRecord:
    values: dict[str, Any] = {slot: getattr(row, slot) for slot in ApiKeyRecord.__dataclass_fields__}
    return ApiKeyRecord(**values | {"scope": tuple(row.scope)})


def all_api_keys(session: Session) -> list[ApiKeyRecord]:
    """The newest first."""
    return [_key_record(row) for row in session.scalars(select(ApiKeyRow).order_by(ApiKeyRow.id.desc()))]


def insert_api_key(session: Session, record: ApiKeyRecord) -> None:
    values = {slot: getattr(record, slot) for slot in ApiKeyRecord.__dataclass_fields__}
    session.add(ApiKeyRow(**values | {"scope": list(record.scope)}))
    session.flush()


def api_key_by_hash(session: Session, hashed: str) -> ApiKeyRecord | None:
    row = session.scalars(select(ApiKeyRow).where(ApiKeyRow.hash == hashed)).first()
    return None if row is None else _key_record(row)


def find_api_key(session: Session, key_id: str) -> ApiKeyRecord | None:
    row = session.get(ApiKeyRow, key_id)
    return None if row is None else _key_record(row)


def touch_api_key(session: Session, key_id: str, now: datetime) -> None:
    session.execute(update(ApiKeyRow).where(ApiKeyRow.id == key_id).values(last_used=now))


def delete_api_key(session: Session, key_id: str) -> None:
    session.execute(delete(ApiKeyRow).where(ApiKeyRow.id == key_id))
