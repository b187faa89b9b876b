"""In which folder of its vCenter each VM was seen last: what people limited to folders are let see hangs on it.

A VM that is gone keeps its folder, for its restore points. One of whose folder nothing is known lies in none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import (
    ColumnElement,
    String,
    Text,
    and_,
    delete,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    true,
)
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session, mapped_column

from vbm.catalog.base import Base
from vbm.catalog.locks import one_at_a_time
from vbm.catalog.vcenters import VcenterRow
from vbm.policy.folders import folder_key
from vbm.policy.scope import Place, Scope

_BATCH: Final = 500


class VmPlaceRow(Base):
    __tablename__ = "vm_places"

    vcenter_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    vm_uuid: Mapped[str] = mapped_column(String(64), primary_key=True)
    folder: Mapped[str] = mapped_column(Text)
    folder_key: Mapped[str] = mapped_column(Text)


def folders_of(session: Session, vcenter_id: str) -> dict[str, str]:
    """By instance UUID, of every VM that was ever seen at that vCenter."""
    query = select(VmPlaceRow.vm_uuid, VmPlaceRow.folder).where(VmPlaceRow.vcenter_id == vcenter_id)
    return {row.vm_uuid: row.folder for row in session.execute(query)}


def folder_of(session: Session, vcenter_id: str, vm_uuid: str) -> str | None:
    """None: nothing is known of it."""
    row = session.get(VmPlaceRow, (vcenter_id, vm_uuid))
    return None if row is None else row.folder


def put_folders(session: Session, vcenter_id: str, found: Mapping[str, str | None]) -> None:
    """Store where VMs lie now, by instance UUID; None: nobody can tell any more."""
    one_at_a_time(session, "vm_places")  # two that have both read that inventory
    uuids = list(found)
    for start in range(0, len(uuids), _BATCH):
        batch = VmPlaceRow.vm_uuid.in_(uuids[start : start + _BATCH])
        session.execute(delete(VmPlaceRow).where(VmPlaceRow.vcenter_id == vcenter_id, batch))
    rows = [
        {"vcenter_id": vcenter_id, "vm_uuid": uuid, "folder": folder, "folder_key": folder_key(folder)}
        for uuid, folder in found.items()
        if folder is not None
    ]
    if rows:
        session.execute(insert(VmPlaceRow), rows)


def drop_folders(session: Session, vcenter_id: str) -> None:
    """The vCenter is no longer known."""
    session.execute(delete(VmPlaceRow).where(VmPlaceRow.vcenter_id == vcenter_id))


def covers_vm(session: Session, scope: Scope, vcenter_id: str, vm_uuid: str) -> bool:
    """Whether that one VM lies within."""
    return scope.has_all_of(vcenter_id) or (
        scope.sees(vcenter_id) and scope.covers(vcenter_id, folder_of(session, vcenter_id, vm_uuid))
    )


_Column = InstrumentedAttribute[str]


def within(scope: Scope, vcenter_id: _Column, vm_uuid: _Column) -> ColumnElement[bool]:
    """Of rows that name a vCenter by its id: those of VMs within the scope."""
    return _within(scope, {one: one for one in scope.vcenters}, vcenter_id, vm_uuid)


def within_named(session: Session, scope: Scope, vcenter: _Column, vm_uuid: _Column) -> ColumnElement[bool]:
    """Of rows that name a vCenter by its name: the same."""
    query = select(VcenterRow.id, VcenterRow.name).where(VcenterRow.id.in_(scope.vcenters))
    known = {} if scope.everything else {row.id: row.name for row in session.execute(query)}
    return _within(scope, known, vcenter, vm_uuid)


def _within(
    scope: Scope, called: Mapping[str, str], vcenter: _Column, vm_uuid: _Column
) -> ColumnElement[bool]:
    if scope.everything:
        return true()
    whole = [called[one] for one in called if scope.has_all_of(one)]
    parts = [one for one in called if not scope.has_all_of(one)]
    found: list[ColumnElement[bool]] = [vcenter.in_(whole)] if whole else []
    for one in parts:
        below = or_(*(_lies_in(place) for place in scope.places if place.vcenter_id == one))
        here = exists().where(VmPlaceRow.vcenter_id == one, VmPlaceRow.vm_uuid == vm_uuid, below)
        found.append(and_(vcenter == called[one], here))
    return or_(*found) if found else false()


def _lies_in(place: Place) -> ColumnElement[bool]:
    """As ``lies_in``, in SQL: the first characters of ``folder/`` are those of ``wanted/``."""
    wanted = f"{folder_key(place.folder)}/"
    return func.substr(VmPlaceRow.folder_key + "/", 1, len(wanted)) == wanted
