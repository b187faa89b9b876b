"""Repositories that the product knows by name: where each lies and how its key is come by."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from sqlalchemy import BigInteger, String, Text, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime
from vbm.catalog.errors import NameTakenError
from vbm.catalog.names import name_key, unknown_name


class KeyKind(Enum):
    """How a repository's key is come by when nobody is there to type it."""

    NONE = "none"  # the repository is not encrypted
    PASSPHRASE = "passphrase"  # noqa: S105 - a kind, no secret: the passphrase is sealed in the catalog
    KEY_FILE = "key-file"  # read from its path at each use


@dataclass(frozen=True, slots=True)
class RepositoryRecord:
    """One repository as stored. ``url`` holds no credentials."""

    id: str
    name: str
    url: str
    repository_id: str  # from the repository's own config: the same repository at another address
    key_kind: KeyKind
    key_file: str
    chunk_size_bytes: int
    compression: str
    created: datetime
    sealed_passphrase: str = field(repr=False, default="")


class RepositoryRow(Base):
    __tablename__ = "repositories"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    name_key: Mapped[str] = mapped_column(String(400), unique=True)
    url: Mapped[str] = mapped_column(Text)
    repository_id: Mapped[str] = mapped_column(String(64))
    key_kind: Mapped[str] = mapped_column(String(20))
    sealed_passphrase: Mapped[str] = mapped_column(Text)
    key_file: Mapped[str] = mapped_column(Text)
    chunk_size_bytes: Mapped[int] = mapped_column(BigInteger)
    compression: Mapped[str] = mapped_column(String(20))
    created: Mapped[datetime] = mapped_column(UtcTime)


def _record(row: RepositoryRow) -> RepositoryRecord:
    values: dict[str, Any] = {slot: getattr(row, slot) for slot in RepositoryRecord.__dataclass_fields__}
    return RepositoryRecord(**values | {"key_kind": KeyKind(row.key_kind)})


def all_repositories(session: Session) -> list[RepositoryRecord]:
    """Every repository, by name."""
    return [_record(row) for row in session.scalars(select(RepositoryRow).order_by(RepositoryRow.name_key))]


def repository_by_name(session: Session, name: str) -> RepositoryRecord:
    """The repository of that name or id. Raises UnknownNameError with the nearest name."""
    found = _find(session, name)
    if found is None:
        known = session.scalars(select(RepositoryRow.name))
        raise unknown_name("repository", name, known, "create one: vbm repository create NAME file:///path")
    return _record(found)


def insert_repository(session: Session, record: RepositoryRecord) -> None:
    """Store a new repository. Raises NameTakenError where a name differs in no more than its case."""
    if _find(session, record.name) is not None:
        raise name_taken(record.name)
    values = {slot: getattr(record, slot) for slot in RepositoryRecord.__dataclass_fields__}
    values["key_kind"] = record.key_kind.value
    session.add(RepositoryRow(**values, name_key=name_key(record.name)))
    session.flush()


def replace_repository(session: Session, record: RepositoryRecord) -> None:
    """Store a changed repository. Raises NameTakenError."""
    other = _find(session, record.name)
    if other is not None and other.id != record.id:
        raise name_taken(record.name)
    values = {slot: getattr(record, slot) for slot in RepositoryRecord.__dataclass_fields__}
    values |= {"key_kind": record.key_kind.value, "name_key": name_key(record.name)}
    session.execute(update(RepositoryRow).where(RepositoryRow.id == record.id).values(**values))


def repository_exists(session: Session, name: str) -> bool:
    """Whether the name is taken, case ignored."""
    return _find(session, name) is not None


def name_taken(name: str) -> NameTakenError:
    """The error for a second repository of one name."""
    return NameTakenError(
        f"there is a repository named {name!r} already",
        hint="choose another name; vbm repository list shows those in use",
    )


def delete_repository(session: Session, record_id: str) -> None:
    """Forget the repository of that id; its data stays where it is."""
    session.execute(delete(RepositoryRow).where(RepositoryRow.id == record_id))


def _find(session: Session, name: str) -> RepositoryRow | None:
    matches = (RepositoryRow.name_key == name_key(name)) | (RepositoryRow.id == name)
    return session.scalars(select(RepositoryRow).where(matches)).first()
