"""What restore points added, by day and by VM: summed by the database, for years of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from vbm.catalog.restore_points import PointRow
from vbm.catalog.vm_places import within_named
from vbm.policy.scope import EVERYWHERE, Scope


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


def growth_by_day(session: Session, since: datetime, scope: Scope = EVERYWHERE) -> list[DayGrowth]:
    """Days on which something was added, the oldest first."""
    day = func.date(PointRow.started)
    query = select(day, func.sum(PointRow.new_bytes), func.count()).where(_within(session, since, scope))
    rows = session.execute(query.group_by(day).order_by(day))
    return [DayGrowth(date.fromisoformat(str(when)[:10]), int(new), int(count)) for when, new, count in rows]


def growth_by_vm(session: Session, since: datetime, scope: Scope = EVERYWHERE) -> list[VmGrowth]:
    """The VM that added the most first."""
    added = func.sum(PointRow.new_bytes)
    query = select(PointRow.vm_uuid, func.max(PointRow.vm_name), added, func.count())
    query = query.where(_within(session, since, scope)).group_by(PointRow.vm_uuid)
    rows = session.execute(query.order_by(added.desc(), PointRow.vm_uuid))
    return [VmGrowth(uuid, name, int(new), int(count)) for uuid, name, new, count in rows]


def _within(session: Session, since: datetime, scope: Scope) -> ColumnElement[bool]:
    seen = within_named(session, scope, PointRow.vcenter, PointRow.vm_uuid)
    return and_(PointRow.started >= since, seen)
