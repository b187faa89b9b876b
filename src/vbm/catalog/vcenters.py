"""vCenters and ESXi hosts that the product knows, each with its sealed password."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, String, Text, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime
from vbm.catalog.errors import NameTakenError
from vbm.catalog.names import name_key, unknown_name


@dataclass(frozen=True, slots=True)
class VcenterRecord:
    """One vCenter as stored. Exactly one of ``thumbprint`` (64 hex digits) and ``ca_file`` is set."""

    id: str
    name: str
    host: str
    port: int
    username: str
    thumbprint: str
    ca_file: str
    product: str  # as the server calls itself: "VMware vCenter Server 8.0.3 build-1"
    instance_uuid: str  # about.instanceUuid: the same server under another name or address
    created: datetime
    sealed_password: str = field(repr=False)


class VcenterRow(Base):
    __tablename__ = "vcenters"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    name_key: Mapped[str] = mapped_column(String(400), unique=True)
    host: Mapped[str] = mapped_column(String(255))
    port: Mapped[int] = mapped_column(Integer)
    username: Mapped[str] = mapped_column(String(255))
    sealed_password: Mapped[str] = mapped_column(Text)
    thumbprint: Mapped[str] = mapped_column(String(64))
    ca_file: Mapped[str] = mapped_column(Text)
    product: Mapped[str] = mapped_column(String(255))
    instance_uuid: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime] = mapped_column(UtcTime)


def _record(row: VcenterRow) -> VcenterRecord:
    values: dict[str, Any] = {slot: getattr(row, slot) for slot in VcenterRecord.__dataclass_fields__}
    return VcenterRecord(**values)


def all_vcenters(session: Session) -> list[VcenterRecord]:
    """Every vCenter, by name."""
    return [_record(row) for row in session.scalars(select(VcenterRow).order_by(VcenterRow.name_key))]


def vcenter_by_name(session: Session, name: str) -> VcenterRecord:
    """The vCenter of that name or id. Raises UnknownNameError with the nearest name."""
    found = _find(session, name)
    if found is None:
        known = session.scalars(select(VcenterRow.name))
        raise unknown_name(
            "vCenter", name, known, "add one: vbm vcenter add NAME --host HOST --username USER"
        )
    return _record(found)


def insert_vcenter(session: Session, record: VcenterRecord) -> None:
    """Store a new vCenter. Raises NameTakenError where a name differs in no more than its case."""
    if _find(session, record.name) is not None:
        raise name_taken(record.name)
    values = {slot: getattr(record, slot) for slot in VcenterRecord.__dataclass_fields__}
    session.add(VcenterRow(**values, name_key=name_key(record.name)))
    session.flush()


def vcenter_exists(session: Session, name: str) -> bool:
    """Whether the name is taken, case ignored."""
    return _find(session, name) is not None


def name_taken(name: str) -> NameTakenError:
    """The error for a second vCenter of one name."""
    return NameTakenError(
        f"there is a vCenter named {name!r} already",
        hint="choose another name, or remove that one first with: vbm vcenter remove",
    )


def replace_vcenter(session: Session, record: VcenterRecord) -> None:
    """Store a changed vCenter."""
    values = {slot: getattr(record, slot) for slot in VcenterRecord.__dataclass_fields__}
    session.execute(update(VcenterRow).where(VcenterRow.id == record.id).values(**values))


def delete_vcenter(session: Session, record_id: str) -> None:
    """Forget the vCenter of that id; nothing happens where it is gone already."""
    session.execute(delete(VcenterRow).where(VcenterRow.id == record_id))


def _find(session: Session, name: str) -> VcenterRow | None:
    matches = (VcenterRow.name_key == name_key(name)) | (VcenterRow.id == name)
    return session.scalars(select(VcenterRow).where(matches)).first()
