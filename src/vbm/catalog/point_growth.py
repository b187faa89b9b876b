"""What restore points added, by day and by VM: summed by the database, for years of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from vbm.catalog.restore_points import PointRow


@dataclass(frozen=True, slots=True)
class DayGrowth:
    """One day in UTC."""

    date: date
    new_bytes: int
    restore_points: int


@dataclass(frozen=True, slots=True)
class VmGrowth:
    vm_uuid: str
    vm_name: str
    new_bytes: int
    restore_points: int


def growth_by_day(session: Session, since: datetime, vcenters: Sequence[str] = ()) -> list[DayGrowth]:
    """Days on which something was added, the oldest first. ``vcenters``: names; none: all."""
    day = func.date(PointRow.started)
    query = select(day, func.sum(PointRow.new_bytes), func.count()).where(_within(since, vcenters))
    rows = session.execute(query.group_by(day).order_by(day))
    return [DayGrowth(date.fromisoformat(str(when)[:10]), int(new), int(count)) for when, new, count in rows]


def growth_by_vm(session: Session, since: datetime, vcenters: Sequence[str] = ()) -> list[VmGrowth]:
    """The VM that added the most first."""
    added = func.sum(PointRow.new_bytes)
    query = select(PointRow.vm_uuid, func.max(PointRow.vm_name), added, func.count())
    query = query.where(_within(since, vcenters)).group_by(PointRow.vm_uuid)
    rows = session.execute(query.order_by(added.desc(), PointRow.vm_uuid))
    return [VmGrowth(uuid, name, int(new), int(count)) for uuid, name, new, count in rows]


def _within(since: datetime, vcenters: Sequence[str]) -> ColumnElement[bool]:
    recent = PointRow.started >= since
    return and_(recent, PointRow.vcenter.in_(vcenters)) if vcenters else recent
