"""The VMs of a vCenter or ESXi host: all in one streamed pass, or one by name, path, UUID or moref."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from vbm.errors import InputError, NotFoundError
from vbm.ids import MoRef, VmUuid
from vbm.vsphere.devices import disks_of
from vbm.vsphere.model import VirtualMachine
from vbm.vsphere.properties import PAGE, collect, properties_of
from vbm.vsphere.session import Session
from vbm.vsphere.topology import Topology, unescape

_PATHS: Final = (
    "name",
    "parent",
    "parentVApp",
    "resourcePool",
    "snapshot",
    "capability.changeTrackingSupported",
    "runtime.powerState",
    "runtime.connectionState",
    "runtime.consolidationNeeded",
    "runtime.host",
    "guest.toolsRunningStatus",
    "config.instanceUuid",
    "config.uuid",
    "config.template",
    "config.version",
    "config.changeTrackingEnabled",
    "config.keyId",
    "config.managedBy",
    "config.ftInfo",
    "config.files.vmPathName",
    "config.hardware.device",
)
_UNREADY: Final = {
    "disconnected": "its host is disconnected from vCenter",
    "inaccessible": "its files are inaccessible to the host",
    "orphaned": "it is orphaned: its host no longer knows it",
    "invalid": "its configuration is invalid",
}
_LISTED: Final = 10


def list_vms(session: Session, *, page_size: int = PAGE) -> Iterator[VirtualMachine]:
    """Every VM, templates and broken ones too (they carry a ``skip_reason``), as the pages arrive."""
    topology = Topology.read(session)
    for reference, values in collect(session, {"VirtualMachine": _PATHS}, page_size=page_size):
        yield _machine(session, reference._moId, values, topology)


def get_vm(session: Session, moref: MoRef) -> VirtualMachine:
    """One VM as it is now. Raises ObjectGoneError."""
    values = properties_of(session, session.vm(moref), _PATHS)
    return _machine(session, moref, values, Topology.read(session))


def find_vm(session: Session, name_or_uuid_or_moref: str) -> VirtualMachine:
    """The one VM of that instance UUID, moref, ``folder/name`` or ``datacenter/folder/name`` path, or name.

    Raises InputError, listing the paths, where several VMs have the name, and NotFoundError with the nearest
    names where none has.
    """
    wanted = name_or_uuid_or_moref.strip()
    candidates = list(_light_pass(session))
    for by in (_by_identity, _by_name):
        found = [c for c in candidates if by(c, wanted)]
        if len(found) == 1:
            return get_vm(session, found[0].moref)
        if found:
            raise _ambiguous(session, wanted, found)
    if "/" in wanted:
        topology = Topology.read(session)
        found = [c for c in candidates if wanted.strip("/") in c.paths(topology)]
        if len(found) == 1:
            return get_vm(session, found[0].moref)
    raise _unknown(session, wanted, candidates)


@dataclass(frozen=True, slots=True)
class _Candidate:
    moref: MoRef
    name: str
    parent: Any
    uuid: str

    def path(self, topology: Topology) -> str:
        """``datacenter/folder/name``."""
        parts = (unescape(topology.datacenter(self.parent)), topology.folder(self.parent), self.name)
        return "/".join(p for p in parts if p)

    def paths(self, topology: Topology) -> set[str]:
        datacenter = unescape(topology.datacenter(self.parent))
        below = "/".join(p for p in (topology.folder(self.parent), self.name) if p)
        return {below, f"{datacenter}/{below}", f"{datacenter}/vm/{below}"}


def _light_pass(session: Session) -> Iterator[_Candidate]:
    paths = ("name", "parent", "parentVApp", "config.instanceUuid")
    for reference, values in collect(session, {"VirtualMachine": paths}, page_size=2 * PAGE):
        yield _Candidate(
            moref=MoRef(reference._moId),
            name=unescape(values.get("name", "")),
            parent=values.get("parent") or values.get("parentVApp"),
            uuid=(values.get("config.instanceUuid") or "").lower(),
        )


def _by_identity(candidate: _Candidate, wanted: str) -> bool:
    return wanted == candidate.moref or (bool(candidate.uuid) and wanted.lower() == candidate.uuid)


def _by_name(candidate: _Candidate, wanted: str) -> bool:
    return wanted == candidate.name


def _ambiguous(session: Session, wanted: str, found: list[_Candidate]) -> InputError:
    topology = Topology.read(session)
    paths = sorted(f"{c.path(topology)} ({c.moref})" for c in found)
    more = f" and {len(paths) - _LISTED} more" if len(paths) > _LISTED else ""
    return InputError(
        f"{len(found)} VMs of {session.where} are called {wanted!r}: {', '.join(paths[:_LISTED])}{more}",
        hint="name one by its path, moref or instance UUID",
        paths=paths,
    )


def _unknown(session: Session, wanted: str, candidates: list[_Candidate]) -> NotFoundError:
    names = sorted({c.name for c in candidates})
    folded = {name.casefold(): name for name in names}
    last = wanted.rsplit("/", 1)[-1].casefold()
    near = [folded[m] for m in difflib.get_close_matches(last, list(folded), n=3, cutoff=0.5)]
    if near:
        hint = "did you mean " + " or ".join(repr(n) for n in near) + "?"
    else:
        hint = (
            f"{session.where} shows this account {len(names)} VMs"
            if names
            else "this account sees no VM there"
        )
    return NotFoundError(f"no VM {wanted!r} in {session.where}", hint=hint, nearest=near)


def _machine(session: Session, moref: str, values: dict[str, Any], topology: Topology) -> VirtualMachine:
    parent = values.get("parent") or values.get("parentVApp")
    host = values.get("runtime.host")
    name = unescape(values.get("name", ""))
    snapshot = values.get("snapshot")
    return VirtualMachine(
        name=name,
        moref=MoRef(moref),
        instance_uuid=VmUuid((values.get("config.instanceUuid") or "").lower()),
        bios_uuid=(values.get("config.uuid") or "").lower(),
        vcenter=session.endpoint.name,
        folder=topology.folder(values.get("parent")),
        datacenter=topology.datacenter(parent or host),
        host=topology.name(host),
        resource_pool=topology.name(values.get("resourcePool")),
        power_state=str(values.get("runtime.powerState") or ""),
        connection_state=str(values.get("runtime.connectionState") or ""),
        template=bool(values.get("config.template")),
        hardware_version=values.get("config.version") or "",
        vmx_path=values.get("config.files.vmPathName") or "",
        cbt_supported=bool(values.get("capability.changeTrackingSupported")),
        cbt_enabled=bool(values.get("config.changeTrackingEnabled")),
        consolidation_needed=bool(values.get("runtime.consolidationNeeded")),
        snapshot_names=tuple(tree_names(snapshot.rootSnapshotList if snapshot else ())),
        tools_running=values.get("guest.toolsRunningStatus") == "guestToolsRunning",
        encrypted=values.get("config.keyId") is not None,
        skip_reason=_skip_reason(name, values),
        disks=disks_of(values.get("config.hardware.device"), topology),
    )


def tree_names(nodes: Any) -> Iterator[str]:
    """Names of a snapshot tree, parents before children."""
    for node in nodes or ():
        yield unescape(node.name)
        yield from tree_names(node.childSnapshotList)


def _skip_reason(name: str, values: dict[str, Any]) -> str:
    state = str(values.get("runtime.connectionState") or "connected")
    if state in _UNREADY:
        return _UNREADY[state]
    if "config.instanceUuid" not in values or "config.hardware.device" not in values:
        return "its configuration can't be read: inaccessible, or the account lacks System.Read on it"
    if values.get("config.template"):
        return "it is a template: no snapshot can be made of it"
    if values.get("config.ftInfo") is not None:
        return "Fault Tolerance is on: no snapshot can be made of it"
    return _managed_by_others(name, values.get("config.managedBy"))


def _managed_by_others(name: str, managed_by: Any) -> str:
    extension = (managed_by.extensionKey if managed_by else "") or ""
    if name.startswith("vCLS-") or (extension == "com.vmware.vim.eam" and managed_by.type == "cluster-agent"):
        return "it is a cluster service VM (vCLS) that vSphere makes again by itself"
    if extension.startswith("com.vmware.vcDr"):
        return "it is a placeholder of Site Recovery Manager"
    return ""
