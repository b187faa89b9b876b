"""A VM's snapshots by name: references change over re-registration, the unique names we give do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from vbm.cancel import CancelToken
from vbm.errors import VbmError
from vbm.ids import MoRef, VmUuid
from vbm.vsphere import tasks
from vbm.vsphere.devices import chain_depth, disks_of
from vbm.vsphere.model import VmSnapshot
from vbm.vsphere.properties import collect, properties_of, properties_of_each
from vbm.vsphere.session import Session
from vbm.vsphere.soap import vim
from vbm.vsphere.topology import Topology, unescape

SNAPSHOT_PREFIX: Final = "vbm-"
_SNAPSHOT_WORK: Final = ("snapshot", "consolidate")  # in a task's descriptionId, case ignored


@dataclass(frozen=True, slots=True)
class FoundSnapshot:
    """One of our snapshots as the inventory shows it, whoever or whatever left it."""

    vm: MoRef
    vm_name: str
    snapshot: MoRef
    name: str
    description: str
    created: datetime
    quiesced: bool
    has_children: bool  # somebody made another snapshot on top of it


@dataclass(frozen=True, slots=True)
class ChainState:
    """What tells whether a removal is complete."""

    consolidation_needed: bool
    depths: dict[int, int]  # disk key → files in its chain
    heads: tuple[str, ...]  # files that the disks are written to now


@dataclass(frozen=True, slots=True)
class NeedsConsolidation:
    """A VM of which vSphere says that deltas of removed snapshots are still in its disks' chains."""

    vm: MoRef
    vm_name: str
    vm_uuid: VmUuid


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over a whole vCenter shows."""

    ours: tuple[FoundSnapshot, ...]
    unconsolidated: tuple[NeedsConsolidation, ...]


def survey(session: Session) -> Survey:
    """Our snapshots and the VMs that need consolidation, in one pass over all VMs."""
    paths = ("name", "snapshot", "runtime.consolidationNeeded", "config.instanceUuid")
    ours: list[FoundSnapshot] = []
    needy = []
    for reference, values in collect(session, {"VirtualMachine": paths}):
        ours += _ours(reference._moId, values)
        if values.get("runtime.consolidationNeeded"):
            uuid = VmUuid((values.get("config.instanceUuid") or "").lower())
            needy.append(NeedsConsolidation(MoRef(reference._moId), unescape(values.get("name", "")), uuid))
    return Survey(tuple(ours), tuple(needy))


def find_ours(session: Session, vm: MoRef | None = None) -> list[FoundSnapshot]:
    """Every snapshot whose name has our prefix: of one VM, or of all in one pass."""
    if vm is not None:
        values = properties_of(session, session.vm(vm), ["name", "snapshot"])
        return list(_ours(vm, values))
    wanted = {"VirtualMachine": ("name", "snapshot")}
    return [s for reference, values in collect(session, wanted) for s in _ours(reference._moId, values)]


def find_named(session: Session, vm: MoRef, name: str) -> FoundSnapshot | None:
    """The snapshot of exactly that name. Raises ObjectGoneError where the VM is gone."""
    values = properties_of(session, session.vm(vm), ["name", "snapshot"])
    return next((s for s in _all(vm, values) if s.name == name), None)


def describe(session: Session, found: FoundSnapshot) -> VmSnapshot:
    """The snapshot with the disks as it froze them: from its own config, for the VM's points at new deltas."""
    values = properties_of(session, session.snapshot(found.snapshot), ["config.hardware.device"])
    devices = values.get("config.hardware.device") or ()
    return VmSnapshot(
        moref=found.snapshot,
        name=found.name,
        vm=found.vm,
        created=found.created,
        quiesced=found.quiesced,
        disks=disks_of(devices, Topology.of_datastores(session, devices)),
    )


def chain_state(session: Session, vm: MoRef) -> ChainState:
    """Raises ObjectGoneError where the VM is gone."""
    values = properties_of(session, session.vm(vm), ["runtime.consolidationNeeded", "config.hardware.device"])
    devices = values.get("config.hardware.device") or ()
    disks = [d for d in devices if isinstance(d, vim.vm.device.VirtualDisk)]
    return ChainState(
        consolidation_needed=bool(values.get("runtime.consolidationNeeded")),
        depths={d.key: chain_depth(d.backing) for d in disks},
        heads=tuple(getattr(d.backing, "fileName", None) or "" for d in disks),
    )


def settle(session: Session, vm: MoRef, cancel: CancelToken) -> None:
    """Wait until no task that makes, removes or consolidates snapshots of this VM runs, whoever started it.

    A snapshot vanishes from the tree before its removal is done, and appears only when its creation is.
    """
    recent = properties_of(session, session.vm(vm), ["recentTask"]).get("recentTask") or []
    try:
        known = properties_of_each(session, list(recent), ["info.descriptionId", "info.state"])
    except VbmError:  # a task may be forgotten between the two calls: then ask one by one
        known = {t._moId: _info_of(session, t) for t in recent}
    for task in recent:
        info = known.get(task._moId, {})
        described = str(info.get("info.descriptionId", "")).lower()
        running = str(info.get("info.state")) in ("queued", "running")
        if running and any(word in described for word in _SNAPSHOT_WORK):
            wait_out(session, task, cancel)


def wait_out(session: Session, task: Any, cancel: CancelToken) -> None:
    """Wait until a task has ended, well or badly."""
    try:
        tasks.wait_for(session, task, cancel=cancel)
    except VbmError:
        cancel.check()


def _info_of(session: Session, task: Any) -> dict[str, Any]:
    try:
        return properties_of(session, task, ["info.descriptionId", "info.state"])
    except VbmError:
        return {}


def _ours(vm: MoRef, values: dict[str, Any]) -> Iterator[FoundSnapshot]:
    return (s for s in _all(vm, values) if s.name.startswith(SNAPSHOT_PREFIX))


def _all(vm: MoRef, values: dict[str, Any]) -> Iterator[FoundSnapshot]:
    tree = values.get("snapshot")
    vm_name = unescape(values.get("name", ""))
    for node in _walk(tree.rootSnapshotList if tree else ()):
        yield FoundSnapshot(
            vm=vm,
            vm_name=vm_name,
            snapshot=MoRef(node.snapshot._moId),
            name=unescape(node.name),
            description=node.description or "",
            created=_aware(node.createTime),
            quiesced=bool(node.quiesced),
            has_children=bool(node.childSnapshotList),
        )


def _walk(nodes: Any) -> Iterator[Any]:
    for node in nodes or ():
        yield node
        yield from _walk(node.childSnapshotList)


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
