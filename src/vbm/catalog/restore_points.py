"""Restore points as the repositories hold them: a cache of their manifests for quick lists, never the truth."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Index,
    Integer,
    String,
    Text,
    cast,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime
from vbm.catalog.runs import UUID
from vbm.catalog.vm_places import within_named
from vbm.policy.scope import EVERYWHERE, Scope


@dataclass(frozen=True, slots=True)
class PointRecord:
    """``verified``: when it was verified last, ``verified_mode`` quick or full; ``verified_good`` None: never."""

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
    verified_mode: str = ""
    verified_good: bool | None = None


class PointRow(Base):
    __tablename__ = "restore_points"
    __table_args__ = (
        Index("ix_restore_points_vm", "vm_uuid", "id"),
        Index("ix_restore_points_sizes", "repository_id", "vm_name", "size_bytes"),
        Index("ix_restore_points_id", "id"),
        Index("ix_restore_points_name", "vm_name", "id"),
        Index("ix_restore_points_newest", "vm_uuid", "vcenter", "vm_name", "started"),
    )

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
    verified_mode: Mapped[str] = mapped_column(String(10))
    verified_good: Mapped[bool | None] = mapped_column(Boolean)


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


@dataclass(frozen=True, slots=True)
class PointFilter:
    """``vm`` is a name or an instance UUID; ``before`` the id at which the last page ended; limit 0: all."""

    vm: str = ""
    repository_id: str = ""
    vcenters: Sequence[str] = ()  # names
    before: str = ""
    before_repository: str = ""  # of those with that very id, the repositories that come later
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 0
    job_id: str = ""
    pinned: bool | None = None
    verified: str = ""  # never, good or damaged, when it was verified last
    scope: Scope = EVERYWHERE


def list_points(session: Session, wanted: PointFilter) -> list[PointRecord]:
    """The newest first."""
    query = select(PointRow).where(_within(session, wanted.scope))
    if wanted.vm:
        by_uuid = UUID.fullmatch(wanted.vm.lower()) is not None  # an OR of both would use neither index
        query = query.where(
            PointRow.vm_uuid == wanted.vm.lower() if by_uuid else PointRow.vm_name == wanted.vm
        )
    if wanted.repository_id:
        query = query.where(PointRow.repository_id == wanted.repository_id)
    if wanted.vcenters:
        query = query.where(PointRow.vcenter.in_(wanted.vcenters))
    if wanted.before:
        beyond = (PointRow.id < wanted.before) | (PointRow.repository_id < wanted.before_repository)
        query = query.where(PointRow.id <= wanted.before, beyond)  # the first of them is for the index
    if wanted.since is not None:
        query = query.where(PointRow.started >= wanted.since)
    if wanted.until is not None:
        query = query.where(PointRow.started < wanted.until)
    if wanted.job_id:
        query = query.where(PointRow.job_id == wanted.job_id)
    if wanted.pinned is not None:
        query = query.where(PointRow.pinned.is_(wanted.pinned))
    if wanted.verified:
        found = {"never": None, "good": True, "damaged": False}[wanted.verified]
        query = query.where(PointRow.verified_good.is_(found))
    query = query.order_by(PointRow.id.desc(), PointRow.repository_id.desc())
    rows = session.scalars(query.limit(wanted.limit) if wanted.limit else query)
    return [
        PointRecord(**{slot: getattr(row, slot) for slot in PointRecord.__dataclass_fields__}) for row in rows
    ]


def points_of(session: Session, point_id: str, scope: Scope = EVERYWHERE) -> list[PointRecord]:
    """The restore point of that id, once for each repository that has it."""
    rows = session.scalars(select(PointRow).where(PointRow.id == point_id, _within(session, scope)))
    return [
        PointRecord(**{slot: getattr(row, slot) for slot in PointRecord.__dataclass_fields__}) for row in rows
    ]


def mark_point(session: Session, repository_id: str, point_id: str, values: dict[str, Any]) -> None:
    """Pinned, unpinned or verified."""
    wanted = (PointRow.repository_id == repository_id) & (PointRow.id == point_id)
    session.execute(update(PointRow).where(wanted).values(**values))


def newest_points(session: Session, vm_uuid: str = "") -> dict[str, tuple[datetime, int]]:
    """By VM, or of one alone: when its newest restore point was begun, and how many it has."""
    query = select(PointRow.vm_uuid, func.max(PointRow.started), func.count()).group_by(PointRow.vm_uuid)
    if vm_uuid:
        query = query.where(PointRow.vm_uuid == vm_uuid)
    return {uuid: (started, int(count)) for uuid, started, count in session.execute(query)}


@dataclass(frozen=True, slots=True)
class PointSummary:
    """The restore points of one VM, all repositories together. ``new_bytes``: what they added.

    ``verified``: how many were found whole when they were verified last.
    """

    vm_uuid: str
    vm_name: str
    vcenter: str
    count: int
    oldest: datetime
    newest: datetime
    new_bytes: int
    size_bytes: int
    pinned: int
    verified: int


def _within(session: Session, scope: Scope) -> ColumnElement[bool]:
    return within_named(session, scope, PointRow.vcenter, PointRow.vm_uuid)


def point_owners(session: Session, scope: Scope = EVERYWHERE) -> list[tuple[str, str, int]]:
    """(UUID, name, restore points) of each VM that has any, by name. Answered by an index."""
    query = select(PointRow.vm_uuid, func.max(PointRow.vm_name), func.count()).group_by(PointRow.vm_uuid)
    found = session.execute(query.where(_within(session, scope)))
    rows = [(uuid, name, int(count)) for uuid, name, count in found]
    return sorted(rows, key=lambda row: (row[1].casefold(), row[0]))


def point_summaries(
    session: Session, scope: Scope = EVERYWHERE, vms: Collection[str] | None = None
) -> list[PointSummary]:
    """One for each VM, or of those, that has a restore point, by name."""
    query = select(
        PointRow.vm_uuid,
        func.max(PointRow.vm_name),
        func.max(PointRow.vcenter),
        func.count(),
        func.min(PointRow.started),
        func.max(PointRow.started),
        func.sum(PointRow.new_bytes),
        func.max(PointRow.size_bytes),
        func.sum(cast(PointRow.pinned, Integer)),
        func.coalesce(func.sum(cast(PointRow.verified_good, Integer)), 0),
    ).group_by(PointRow.vm_uuid)
    query = query.where(_within(session, scope))
    if vms is not None:
        query = query.where(PointRow.vm_uuid.in_(vms))
    rows = [PointSummary(*row[:6], *map(int, row[6:])) for row in session.execute(query)]
    return sorted(rows, key=lambda row: (row.vm_name.casefold(), row.vm_uuid))


def count_points(session: Session, repository_id: str, scope: Scope = EVERYWHERE) -> tuple[int, int]:
    """(restore points, VMs) of one repository."""
    query = select(func.count(), func.count(PointRow.vm_uuid.distinct()))
    query = query.where(PointRow.repository_id == repository_id, _within(session, scope))
    points, vms = session.execute(query).one()
    return int(points), int(vms)


def points_held(session: Session) -> list[tuple[str, str, int, int]]:
    """(the catalog's id of the repository, name of the VM, how many, their logical bytes), from an index alone."""
    by = (PointRow.repository_id, PointRow.vm_name)
    query = select(*by, func.count(), func.sum(PointRow.size_bytes)).group_by(*by).order_by(*by)
    return [(repository, vm, int(n), int(size)) for repository, vm, n, size in session.execute(query)]
