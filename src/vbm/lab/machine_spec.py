"""A client's ConfigSpec as the lab's own specification of a machine, its disks, controllers and adapters."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from vbm.lab.device_view import CONTROLLER_TYPES, IDE_KEYS, NIC_TYPES
from vbm.lab.errors import refusal
from vbm.lab.model import Controller, DiskSpec, MachineSpec, Nic, split_path
from vbm.lab.state import LabState
from vbm.lab.vmodl import vim

_FIRST_KEYS = {"nvme": 31_000, "ahci": 15_000}
_SCSI_KEY = 1000
_FIRST_NIC_KEY = 4000


def plain_name(name: str | None) -> str:
    """A name from the wire with its ``%2f`` escapes undone. InvalidName for an empty or overlong one."""
    plain = unquote(name or "")
    if not plain or len(plain) > 80:
        raise refusal("InvalidName", f"not a name: {name!r}", name=name or "")
    return plain


@dataclass(slots=True)
class DevicePlan:
    """The devices that a spec adds: keys of its own (often negative) are mapped to real ones."""

    controllers: list[Controller] = field(default_factory=list)
    nics: list[Nic] = field(default_factory=list)
    disks: list[DiskSpec] = field(default_factory=list)
    disk_devices: list[Any] = field(default_factory=list)  # as they came, beside ``disks``
    keys: dict[int, int] = field(default_factory=dict)


def machine_spec(state: LabState, spec: Any, *, folder: str, pool: Any, host: Any) -> MachineSpec:
    """The machine that a ConfigSpec describes. Raises a refusal for what can't be made."""
    name = plain_name(spec.name)
    store, directory = _home(spec)
    plan = plan_devices(state, spec.deviceChange, store)
    if (spec.memoryMB is not None and spec.memoryMB < 4) or (spec.numCPUs is not None and spec.numCPUs < 1):
        raise refusal("InvalidArgument", "memory or CPUs out of range", invalidProperty="configSpec")
    return MachineSpec(
        name=name,
        datastore=store,
        directory=directory,
        folder=folder,
        host=host._moId if host else "",
        resource_pool=pool._moId if pool else "",
        guest_id=spec.guestId or "otherGuest64",
        hardware_version=spec.version or "vmx-19",
        firmware=spec.firmware or "bios",
        cpus=spec.numCPUs or 1,
        cores_per_socket=spec.numCoresPerSocket or 1,
        memory_mb=spec.memoryMB or 128,
        annotation=spec.annotation or "",
        controllers=tuple(plan.controllers),
        nics=tuple(plan.nics),
        disks=tuple(plan.disks),
        extra_config={option.key: str(option.value) for option in spec.extraConfig},
        change_tracking_enabled=bool(spec.changeTrackingEnabled),
        instance_uuid=spec.instanceUuid or "",
        bios_uuid=spec.uuid or "",
        managed_by=spec.managedBy.extensionKey if spec.managedBy else "",
        materialise=True,
    )


def _home(spec: Any) -> tuple[str, str]:
    """Datastore and directory that ``files.vmPathName`` asks for; empty where it leaves them open."""
    path = spec.files.vmPathName if spec.files else None
    if not path:
        return _datastore_of_disks(spec), ""
    store, relative = split_path(path)
    directory = relative.rpartition("/")[0] if relative.endswith(".vmx") else relative.rstrip("/")
    return store, directory


def _datastore_of_disks(spec: Any) -> str:
    for change in spec.deviceChange:
        backing = getattr(change.device, "backing", None)
        name = getattr(backing, "fileName", "") or ""
        if name.startswith("["):
            return split_path(name)[0]
    return ""


def plan_devices(
    state: LabState, changes: list[Any], store: str, existing: list[Controller] | None = None
) -> DevicePlan:
    """What the ``add`` changes among these ask for; a disk's controller may come after the disk."""
    plan = DevicePlan()
    taken = [*(existing or [])]
    added = [change for change in changes if change.operation == "add"]
    for change in added:
        kind = _controller_kind(change.device)
        if kind:
            controller = _controller(change.device, kind, [*taken, *plan.controllers])
            plan.keys[change.device.key] = controller.key
            plan.controllers.append(controller)
    for change in added:
        if isinstance(change.device, vim.vm.device.VirtualDisk):
            plan.disks.append(_disk(state, change, plan.keys, store))
            plan.disk_devices.append(change.device)
        elif isinstance(change.device, vim.vm.device.VirtualEthernetCard):
            plan.nics.append(nic(state, change.device, _FIRST_NIC_KEY + len(plan.nics)))
    return plan


def _controller_kind(device: Any) -> str:
    return next((kind for kind, cls in CONTROLLER_TYPES.items() if type(device) is cls), "")


def _controller(device: Any, kind: str, taken: list[Controller]) -> Controller:
    family = [c for c in taken if _family(c.kind) == _family(kind)]
    bus = device.busNumber or 0
    if any(c.bus_number == bus for c in family) and kind != "ide":
        bus = next(number for number in range(64) if all(c.bus_number != number for c in family))
    key = IDE_KEYS[bus % 2] if kind == "ide" else _FIRST_KEYS.get(kind, _SCSI_KEY) + bus
    return Controller(key, kind, bus, getattr(device, "sharedBus", None) or "noSharing")


def _family(kind: str) -> str:
    return kind if kind in {"nvme", "ahci", "ide"} else "scsi"


def _disk(state: LabState, change: Any, keys: dict[int, int], store: str) -> DiskSpec:
    device = change.device
    backing = device.backing
    name = (getattr(backing, "fileName", None) or "").strip()
    capacity = device.capacityInBytes or (device.capacityInKB or 0) * 1024
    attach = change.fileOperation is None and name.endswith(".vmdk")
    if not attach and capacity <= 0:
        raise refusal("InvalidDeviceSpec", "a disk without capacity", property="capacityInKB", deviceIndex=0)
    controller = device.controllerKey
    return DiskSpec(
        capacity_bytes=capacity,
        file_name=name if name.endswith(".vmdk") else "",
        attach=attach,
        datastore=_disk_store(state, backing, name, store),
        thin=bool(getattr(backing, "thinProvisioned", True)),
        mode=getattr(backing, "diskMode", None) or "persistent",
        sharing=getattr(backing, "sharing", None) or "sharingNone",
        rdm=getattr(backing, "compatibilityMode", None) or "",
        controller_key=keys.get(controller, controller),
        unit=device.unitNumber if device.unitNumber is not None and device.unitNumber >= 0 else None,
        uuid=getattr(backing, "uuid", None) or "",
    )


def _disk_store(state: LabState, backing: Any, name: str, store: str) -> str:
    if name.startswith("["):
        return split_path(name)[0]
    ref = getattr(backing, "datastore", None)
    known = state.datastores.get(ref._moId) if ref else None
    return known.name if known else store


def nic(state: LabState, device: Any, key: int) -> Nic:
    """An adapter as the lab keeps it. InvalidDeviceBacking for a network that does not exist."""
    kind = next((name for name, cls in NIC_TYPES.items() if type(device) is cls), "e1000")
    address = device.macAddress or ""
    connectable = device.connectable
    return Nic(
        key=key,
        network=_network(state, device.backing),
        mac=address
        or "00:50:56:" + ":".join(f"{byte:02x}" for byte in (secrets.randbelow(64), *secrets.token_bytes(2))),
        kind=kind,
        connected=connectable is None or bool(connectable.startConnected),
        address_type="manual" if address else "assigned",
    )


def _network(state: LabState, backing: Any) -> str:
    ref = getattr(backing, "network", None)
    port = getattr(backing, "port", None)
    wanted = ref._moId if ref else getattr(port, "portgroupKey", "")
    if wanted in state.networks:
        return str(wanted)
    name = unquote(getattr(backing, "deviceName", None) or "")
    found = next((network.moref for network in state.networks.values() if network.name == name), None)
    if found is None:
        raise refusal(
            "InvalidDeviceBacking", f"no network {wanted or name!r}", property="backing", deviceIndex=0
        )
    return found
