"""What a restore can be, where it can go and what exactly it will do: told before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from vbm.catalog.restore_points import PointRecord
from vbm.errors import InputError, NotFoundError
from vbm.repository.manifest import Manifest
from vbm.security.roles import Permission, permits
from vbm.services import identity, inventory_cache, points, vcenters
from vbm.services.workspace import Workspace
from vbm.units import format_size
from vbm.vsphere.model import VirtualMachine
from vbm.vsphere.restore_places import DatacenterPlaces, places
from vbm.vsphere.restore_spec import LEAVE_OUT, RestoreSpec

NEW: Final = "new"
IN_PLACE: Final = "in-place"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to restore. ``reason``: why it is not possible here and now; empty: it is."""

    key: str
    title: str
    detail: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A network adapter as it was, and the network that it was connected to."""

    label: str
    network: str


@dataclass(frozen=True, slots=True)
class Source:
    """What is restored: the restore point, its manifest, and the VM as it is now, where it still is."""

    point: PointRecord
    manifest: Manifest
    vm: VirtualMachine | None

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        nics = self.manifest.config.get("nics") or ()
        return tuple(
            Adapter(str(n.get("label") or "a network adapter"), str(n.get("network", ""))) for n in nics
        )

    @property
    def placement(self) -> Mapping[str, Any]:
        """Where the VM was."""
        return self.manifest.config.get("placement") or {}


def source(workspace: Workspace, point_id: str, repository_id: str = "") -> Source:
    """Raises UnknownNameError, and what opening its repository raises."""
    record = points.get(workspace, point_id, repository_id)
    try:
        vm = inventory_cache.machine(workspace, record.vm_uuid)[1]
    except NotFoundError:
        vm = None
    return Source(record, points.manifest(workspace, record), vm)


def ways(found: Source) -> list[Way]:
    """Every way that there is or will be; those that can't be taken say why."""
    return [
        Way(
            NEW,
            "The whole VM, as a new one",
            "Made beside the original with its own MAC addresses and UUIDs. Nothing that is there is touched.",
            "" if found.manifest.disks else "this restore point holds no disk",
        ),
        Way(
            IN_PLACE,
            "The whole VM, in place",
            "The disks of the original are replaced by those of the restore point; its settings stay.",
            _not_in_place(found),
        ),
        Way(
            "disk",
            "One disk, to an image file",
            "raw, qcow2 or VMDK, written where the command line runs.",
            f"at the command line: vbm restore disk {found.point.id} --disk 0 --output FILE",
        ),
        Way("files", "Single files", "Picked out of the guest's file systems.", "not in this version"),
        Way("instant", "Instant recovery", "Runs from the repository.", "not in this version"),
    ]


def _not_in_place(found: Source) -> str:
    """Why the original can't take the disks; empty where it can."""
    who, vm = identity.current(), found.vm
    if who.role is None or not permits(who.role, Permission.MANAGE):
        return "it overwrites a VM: only an administrator may"
    if vm is None:
        return "the original VM is no longer there"
    if vm.power_state != "poweredOff":
        return f"{vm.name} is {_POWER.get(vm.power_state, vm.power_state)}: switch it off first"
    if vm.snapshot_names:
        return f"{vm.name} has snapshots: delete them first"
    now = {disk.key: disk.capacity_bytes for disk in vm.disks}
    for disk in found.manifest.disks:
        if disk.disk_key is None or now.get(disk.disk_key) != disk.capacity_bytes:
            return f"{disk.label or disk.path} is no longer there, or has another size now"
    return ""


_POWER: Final = {"poweredOn": "running", "suspended": "suspended"}


def destinations(workspace: Workspace, vcenter: str) -> tuple[DatacenterPlaces, ...]:
    """Where who asks may put a VM at that vCenter, by name. Raises the errors of connecting."""
    scope = identity.require(Permission.OPERATE).scope
    record = vcenters.seen(workspace, vcenter)
    with vcenters.connect(workspace, record.name) as session:
        found = places(session)
    return tuple(
        replace(one, folders=tuple(path for path in one.folders if scope.covers(record.id, path)))
        for one in found
    )


def check(found: Source, spec: RestoreSpec, there: tuple[DatacenterPlaces, ...]) -> list[str]:
    """What is wrong with the wishes, a sentence each; empty where nothing is."""
    wrong = []
    try:
        spec.check()
    except InputError as error:
        wrong.append(f"{error.message}: {error.hint}" if error.hint else error.message)
    if spec.in_place:
        reason = _not_in_place(found)
        return [*wrong, reason] if reason else wrong
    stores = {store.name: store for dc in there for store in dc.datastores}
    store = stores.get(spec.datastore)
    if spec.datastore and (store is None or store.reason):
        wrong.append(f"The datastore {spec.datastore}: {store.reason if store else 'there is none'}.")
    if store is not None and spec.host and spec.host not in store.hosts:
        wrong.append(f"The host {spec.host} does not mount the datastore {spec.datastore}, or is not up.")
    if store is not None and not store.reason and store.free_bytes < found.point.size_bytes:
        wrong.append(
            f"{store.name} has {format_size(store.free_bytes)} free and the disks may grow to "
            f"{format_size(found.point.size_bytes)}: it may run full."
        )
    return wrong


def review(found: Source, spec: RestoreSpec, vcenter: str) -> list[str]:
    """What will happen, to what, and what is at risk, in plain words."""
    manifest, size = found.manifest, format_size(found.point.size_bytes)
    count = len(manifest.disks)
    disks = f"{count} disk{'' if count == 1 else 's'}, {size} in all"
    if spec.in_place:
        return [
            f"The disks of {manifest.vm_name} on {vcenter} are replaced: {disks}.",
            f"Everything that it has written since {manifest.started:%Y-%m-%d %H:%M} UTC is lost.",
            "The new disks are made and filled beside the old ones first.",
            "Until the exchange at the end the VM stays as it is; a failure before that changes nothing.",
            "Its hardware, networks and settings stay as they are now.",
            _power(spec),
        ]
    where = [f"on the datastore {spec.datastore}" if spec.datastore else "on the datastore that it was on"]
    if spec.host:
        where.append(f"at the host {spec.host}")
    where.append(f"in the folder {spec.folder}" if spec.folder else "in the folder that it was in")
    said = [
        f"A new VM {spec.name} is made on {vcenter}, {', '.join(where)}: {disks}.",
        f"Its disks will be as they were on {manifest.started:%Y-%m-%d at %H:%M} UTC.",
        "Nothing of the VMs that are there is touched. It gets MAC addresses and UUIDs of its own.",
    ]
    said += [_adapter(adapter, spec) for adapter in found.adapters]
    said += [f"Not in the restore point: {_left_out(disk)}." for disk in manifest.excluded_disks]
    said.append(_power(spec))
    said.append("If it fails or is cancelled, what was made of the new VM is removed again.")
    return said


def _adapter(adapter: Adapter, spec: RestoreSpec) -> str:
    network = spec.network_map.get(adapter.network, adapter.network)
    if network == LEAVE_OUT:
        return f"{adapter.label} is left out."
    return f"{adapter.label} is connected to {network}."


def _left_out(disk: Mapping[str, Any]) -> str:
    label = str(disk.get("label") or f"disk {disk.get('key', '?')}")
    reason = str(disk.get("reason") or "")
    return f"{label} ({reason})" if reason else label


def _power(spec: RestoreSpec) -> str:
    return "It is switched on at the end." if spec.power_on else "It stays switched off."
