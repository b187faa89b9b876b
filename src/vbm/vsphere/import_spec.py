"""A captured configuration as the specification of a new VM: what it needs, and nothing that belongs to the old one.

Devices get keys of their own, below zero, as the API wants them for devices that do not exist yet. Disks keep
their controller, bus and unit, so that the guest finds them where they were.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vbm.errors import InputError
from vbm.ids import DiskKey
from vbm.units import KIB
from vbm.vsphere.lease_devices import disk_addresses
from vbm.vsphere.making import MARK
from vbm.vsphere.restore_placement import wire_name
from vbm.vsphere.restore_spec import RestoreSpec
from vbm.vsphere.soap import vim

_device: Final = vim.vm.device
_CONTROLLERS: Final[dict[str, Any]] = {
    "ParaVirtualSCSIController": _device.ParaVirtualSCSIController,
    "VirtualLsiLogicController": _device.VirtualLsiLogicController,
    "VirtualLsiLogicSASController": _device.VirtualLsiLogicSASController,
    "VirtualBusLogicController": _device.VirtualBusLogicController,
    "VirtualAHCIController": _device.VirtualAHCIController,
    "VirtualNVMEController": _device.VirtualNVMEController,
    "VirtualIDEController": _device.VirtualIDEController,
}
_SCSI: Final = (
    "ParaVirtualSCSIController",
    "VirtualLsiLogicController",
    "VirtualLsiLogicSASController",
    "VirtualBusLogicController",
)
_CARDS: Final[dict[str, Any]] = {
    "VirtualVmxnet3": _device.VirtualVmxnet3,
    "VirtualVmxnet2": _device.VirtualVmxnet2,
    "VirtualE1000": _device.VirtualE1000,
    "VirtualE1000e": _device.VirtualE1000e,
    "VirtualPCNet32": _device.VirtualPCNet32,
}
# What a guest or an administrator set and a new host can take over; all else is written by the host itself.
_CARRIED: Final = re.compile(
    r"^(disk\.EnableUUID|guestinfo\..*|svga\..*|mks\..*|isolation\..*|hpet0\.present|RemoteDisplay\..*"
    r"|monitor_control\..*|cpuid\..*|numa\.(?!autosize).*|vhv\..*|hypervisor\.cpuid\..*|devices\.hotplug"
    r"|(ethernet|scsi|sata|nvme)\d+\.pciSlotNumber|pciBridge\d+\..*|log\..*"
    r"|answer\..*|keyboard\..*|usb\..*|tools\.(guest|upgrade).*)$",
    re.IGNORECASE,
)

Backing = Callable[[Any], Any]  # a network's reference → the backing of an adapter at it
_add: Final = vim.vm.device.VirtualDeviceSpec.Operation.add


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """How disks are made: ``file_name`` of each, and whether vSphere creates the file or finds it there."""

    keys: Collection[DiskKey]
    file_name: Callable[[DiskKey], str]
    create: bool = True
    thin: bool | None = None  # None: as it was


@dataclass(frozen=True, slots=True)
class NewVm:
    """``addresses``: the disks as a lease names them."""

    config: Any
    addresses: Mapping[DiskKey, str]


def new_vm(
    document: Mapping[str, Any],
    spec: RestoreSpec,
    datastore: str,
    networks: Mapping[int, Any],
    backing: Backing,
    disks: DiskPlan,
    *,
    mark: str = "",
) -> NewVm:
    """The whole VM, bearing the mark. Raises InputError where the document lacks what a VM needs."""
    controllers = _controllers(document, disks.keys)
    new_disks = _disks(document, disks, {key: c.key for key, c in controllers.items()})
    devices = [*controllers.values(), *new_disks.values()]
    known = disk_addresses(devices)
    config = _base(document, spec)
    config.files = vim.vm.FileInfo(vmPathName=f"[{datastore}]")
    if mark:
        config.extraConfig = [*config.extraConfig, vim.option.OptionValue(key=MARK, value=mark)]
    config.deviceChange = [
        *(_DeviceSpec(operation=_add, device=c) for c in controllers.values()),
        *(_disk_change(disk, create=disks.create) for disk in new_disks.values()),
        *adapters(document, spec, networks, backing),
    ]
    return NewVm(config, {key: known[DiskKey(disk.key)] for key, disk in new_disks.items()})


_DeviceSpec: Final = vim.vm.device.VirtualDeviceSpec


def adapters(
    document: Mapping[str, Any], spec: RestoreSpec, networks: Mapping[int, Any], backing: Backing
) -> list[Any]:
    """Changes that add the network adapters, each with a new address unless identity is kept."""
    changes = []
    for number, nic in enumerate(document.get("nics") or ()):
        network = networks.get(nic["key"])
        if network is None:
            continue
        card = _CARDS.get(nic.get("type", ""), _device.VirtualVmxnet3)()
        card.key = -(4000 + number)
        card.backing = backing(network)
        card.wakeOnLanEnabled = bool(nic.get("wake_on_lan"))
        card.connectable = _device.VirtualDevice.ConnectInfo(
            startConnected=spec.connect_networks and bool(nic.get("start_connected", True)),
            allowGuestControl=True,
            connected=False,
        )
        if spec.keep_identity and nic.get("mac"):
            card.addressType, card.macAddress = "manual", nic["mac"]
        else:
            card.addressType = "generated"
        changes.append(_DeviceSpec(operation=_add, device=card))
    return changes


def carried_settings(document: Mapping[str, Any]) -> dict[str, str]:
    """Of the extra settings those that mean the same on another host."""
    return {key: value for key, value in (document.get("extra_config") or {}).items() if _CARRIED.match(key)}


def _base(document: Mapping[str, Any], spec: RestoreSpec) -> Any:
    cpu, memory = document.get("cpu") or {}, document.get("memory") or {}
    if not cpu.get("count") or not memory.get("size_mib"):
        raise InputError("the restore point's configuration does not say how many CPUs or how much memory")
    config = vim.vm.ConfigSpec(
        name=wire_name(spec.name),
        guestId=document.get("guest_id") or "otherGuest64",
        version=document.get("hardware_version") or None,
        annotation=document.get("annotation") or None,
        numCPUs=cpu["count"],
        numCoresPerSocket=cpu.get("cores_per_socket") or None,
        memoryMB=memory["size_mib"],
        cpuHotAddEnabled=cpu.get("hot_add"),
        cpuHotRemoveEnabled=cpu.get("hot_remove"),
        memoryHotAddEnabled=memory.get("hot_add"),
        cpuAllocation=_allocation(cpu),
        memoryAllocation=_allocation(memory),
        firmware=document.get("firmware") or None,
        bootOptions=_boot(document.get("boot") or {}),
        extraConfig=[vim.option.OptionValue(key=k, value=v) for k, v in carried_settings(document).items()],
    )
    if spec.keep_identity:
        config.uuid = document.get("bios_uuid") or None
        config.instanceUuid = document.get("instance_uuid") or None
    return config


def _allocation(said: Mapping[str, Any]) -> Any:
    """Shares and limits as they were; no reservation, which the new place may not be able to give."""
    if said.get("limit") is None and said.get("shares_level") is None:
        return None
    allocation = vim.ResourceAllocationInfo(limit=said.get("limit"))
    if said.get("shares_level"):
        level = said["shares_level"]
        allocation.shares = vim.SharesInfo(level=level, shares=said.get("shares") or 0)
    return allocation


def _boot(said: Mapping[str, Any]) -> Any:
    options = {
        "efiSecureBootEnabled": said.get("secure_boot"),
        "bootDelay": said.get("delay_ms"),
        "bootRetryEnabled": said.get("retry"),
        "bootRetryDelay": said.get("retry_delay_ms"),
        "networkBootProtocol": said.get("network_protocol"),
    }
    given = {name: value for name, value in options.items() if value is not None}
    return vim.vm.BootOptions(**given) if given else None


def _controllers(document: Mapping[str, Any], disks: Collection[DiskKey]) -> dict[int, Any]:
    """Old key → new controller: those that disks need, and the SCSI ones that were there besides."""
    used = {d["controller_key"] for d in document.get("disks") or () if d["key"] in disks}
    made: dict[int, Any] = {}
    for said in document.get("controllers") or ():
        kind = said.get("type", "")
        if said["key"] not in used and kind not in _SCSI:
            continue
        if kind not in _CONTROLLERS:
            raise InputError(f"disks at a controller of type {kind!r} can't be restored")
        controller = _CONTROLLERS[kind](key=-(100 + len(made)), busNumber=said.get("bus_number") or 0)
        if kind in _SCSI:
            controller.sharedBus = _device.VirtualSCSIController.Sharing.noSharing
        made[said["key"]] = controller
    missing = used - made.keys()
    if missing:
        raise InputError(f"the restore point's configuration lacks the controllers {sorted(missing)}")
    return made


def _disks(document: Mapping[str, Any], plan: DiskPlan, controllers: Mapping[int, int]) -> dict[DiskKey, Any]:
    made: dict[DiskKey, Any] = {}
    for said in document.get("disks") or ():
        key = DiskKey(said["key"])
        if key not in plan.keys:
            continue
        thin = bool(said.get("thin", True)) if plan.thin is None else plan.thin
        backing = _device.VirtualDisk.FlatVer2BackingInfo(
            fileName=plan.file_name(key), diskMode="persistent", thinProvisioned=thin
        )
        if not thin and said.get("eager"):
            backing.eagerlyScrub = True
        capacity = said["capacity_bytes"]
        made[key] = _device.VirtualDisk(
            key=-(2000 + len(made)),
            controllerKey=controllers[said["controller_key"]],
            unitNumber=said["unit_number"],
            capacityInKB=-(-capacity // KIB),
            capacityInBytes=capacity,
            backing=backing,
        )
    missing = [key for key in plan.keys if key not in made]
    if missing:
        raise InputError(f"the restore point's configuration does not know the disks {missing}")
    return made


def _disk_change(disk: Any, *, create: bool) -> Any:
    change = _DeviceSpec(operation=_add, device=disk)
    if create:
        change.fileOperation = _DeviceSpec.FileOperation.create
    return change
