"""What the account may do, asked before the work begins rather than met in the middle of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from vbm.errors import VbmError
from vbm.ids import MoRef
from vbm.vsphere.faults import NotLicensedError
from vbm.vsphere.properties import properties_of
from vbm.vsphere.session import Session


@dataclass(frozen=True, slots=True)
class Privilege:
    id: str
    needed_for: str
    on: str = "vm"  # "vm" or "datastore"
    required: bool = True  # without it there is no backup; otherwise it only costs something


@dataclass(frozen=True, slots=True)
class MissingPrivilege:
    privilege: Privilege
    moref: str  # the object on which it is missing

    @property
    def message(self) -> str:
        return f"{self.privilege.id} is missing on {self.moref}: needed to {self.privilege.needed_for}"


BACKUP: Final = (
    Privilege("VirtualMachine.State.CreateSnapshot", "make the snapshot that is read"),
    Privilege("VirtualMachine.State.RemoveSnapshot", "remove the snapshot afterwards"),
    Privilege("VirtualMachine.Config.ChangeTracking", "switch on changed block tracking", required=False),
    Privilege("VirtualMachine.Provisioning.DiskRandomRead", "ask which areas changed", required=False),
    Privilege("VirtualMachine.Provisioning.GetVmFiles", "read the VM's files", required=False),
    Privilege("VApp.Export", "read disks by NFC where datastore files can't be read", required=False),
    Privilege("Datastore.Browse", "find files on the datastore", on="datastore", required=False),
    Privilege("Datastore.FileManagement", "read disks over HTTPS", on="datastore", required=False),
)


def missing_for_backup(
    session: Session, vm: MoRef, wanted: Sequence[Privilege] = BACKUP
) -> list[MissingPrivilege] | None:
    """Which of the privileges the account lacks on the VM and its datastores. None: the server can't say.

    One call for the VM and one for all its datastores.
    """
    datastores = list(properties_of(session, session.vm(vm), ["datastore"]).get("datastore") or ())
    try:
        key = session.read(lambda c: c.sessionManager.currentSession.key)
        missing = _lacking(session, [session.vm(vm)], key, [p for p in wanted if p.on == "vm"])
        missing += _lacking(session, datastores, key, [p for p in wanted if p.on == "datastore"])
    except VbmError as error:
        if error.code in ("call-unsupported", "no-privilege", "vsphere-fault"):
            return None
        raise
    return missing


def _lacking(
    session: Session, entities: list[Any], session_key: str, wanted: list[Privilege]
) -> list[MissingPrivilege]:
    if not entities or not wanted:
        return []
    ids = [p.id for p in wanted]
    answers = session.read(
        lambda c: c.authorizationManager.HasPrivilegeOnEntities(entities, session_key, ids)
    )
    granted = {
        (answer.entity._moId, p.privId): bool(p.isGranted)
        for answer in answers or ()
        for p in answer.privAvailability or ()
    }
    return [
        MissingPrivilege(p, entity._moId)
        for entity in entities
        for p in wanted
        if not granted.get((entity._moId, p.id), True)
    ]


def check_licence(session: Session) -> None:
    """Raise NotLicensedError on an ESXi host whose free licence makes the API read-only; else nothing.

    A vCenter is not asked: it is always licensed to write. A host that keeps its licences to itself passes, and
    the first write then says so.
    """
    if session.is_vcenter:
        return
    try:
        licences = session.read(lambda c: c.licenseManager.licenses) or ()
    except VbmError:
        return
    for licence in licences:
        if (licence.editionKey or "").lower().startswith("esxbasic"):
            raise NotLicensedError(
                f"{session.where} has the free licence {licence.name!r}, which makes its API read-only",
                hint="assign a licence with vStorage API, or back up through a vCenter that manages the host",
            )
