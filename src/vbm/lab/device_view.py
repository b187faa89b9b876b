"""A machine's virtual hardware as the API shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vbm.lab.model import FLAT, RDM, SE_SPARSE, Controller, Layer, MachineConfig, Nic, VirtualDisk
from vbm.lab.state import LabState
from vbm.lab.tree import wire_name
from vbm.lab.vmodl import reference, vim

CONTROLLER_TYPES: dict[str, Any] = {
    "pvscsi": vim.vm.device.ParaVirtualSCSIController,
    "lsilogic": vim.vm.device.VirtualLsiLogicController,
    "lsilogicsas": vim.vm.device.VirtualLsiLogicSASController,
    "buslogic": vim.vm.device.VirtualBusLogicController,
    "nvme": vim.vm.device.VirtualNVMEController,
    "ahci": vim.vm.device.VirtualAHCIController,
    "ide": vim.vm.device.VirtualIDEController,
}
NIC_TYPES: dict[str, Any] = {
    "vmxnet3": vim.vm.device.VirtualVmxnet3,
    "e1000e": vim.vm.device.VirtualE1000e,
    "e1000": vim.vm.device.VirtualE1000,
}
IDE_KEYS = (200, 201)
PCI_KEY = 100
_LABELS = {"nvme": "NVME controller", "ahci": "SATA controller", "ide": "IDE"}


def devices(state: LabState, config: MachineConfig) -> Any:
    """``hardware.device``: the buses that every machine has, its controllers, disks and adapters."""
    found = [*_buses(config)]
    found += [
        _controller(controller, config) for controller in config.controllers if controller.kind != "ide"
    ]
    found += [_disk(state, disk) for disk in config.disks]
    found += [_nic(state, nic, number) for number, nic in enumerate(config.nics, 1)]
    return vim.vm.device.VirtualDevice.Array(found)


def _buses(config: MachineConfig) -> list[Any]:
    children = (
        [c.key for c in config.controllers if c.kind != "ide"] + [nic.key for nic in config.nics] + [500]
    )
    ide = [
        vim.vm.device.VirtualIDEController(
            key=key,
            deviceInfo=_info(f"IDE {number}"),
            busNumber=number,
            device=[disk.key for disk in config.disks if disk.controller_key == key],
        )
        for number, key in enumerate(IDE_KEYS)
    ]
    return [
        *ide,
        vim.vm.device.VirtualPCIController(
            key=PCI_KEY, deviceInfo=_info("PCI controller 0"), busNumber=0, device=children
        ),
        vim.vm.device.VirtualVideoCard(
            key=500,
            deviceInfo=_info("Video card "),
            controllerKey=PCI_KEY,
            unitNumber=0,
            videoRamSizeInKB=4096,
            numDisplays=1,
            useAutoDetect=False,
            enable3DSupport=False,
        ),
    ]


def _info(label: str, summary: str = "") -> Any:
    return vim.Description(label=label, summary=summary or label)


def _controller(controller: Controller, config: MachineConfig) -> Any:
    kind = CONTROLLER_TYPES[controller.kind]
    label = _LABELS.get(controller.kind, "SCSI controller")
    device = kind(
        key=controller.key,
        deviceInfo=_info(f"{label} {controller.bus_number}"),
        controllerKey=PCI_KEY,
        unitNumber=3 + controller.bus_number,
        busNumber=controller.bus_number,
        device=[disk.key for disk in config.disks if disk.controller_key == controller.key],
    )
    if issubclass(kind, vim.vm.device.VirtualSCSIController):
        device.sharedBus = controller.shared_bus
        device.scsiCtlrUnitNumber = 7
        device.hotAddRemove = True
    return device


def _disk(state: LabState, disk: VirtualDisk) -> Any:
    return vim.vm.device.VirtualDisk(
        key=disk.key,
        deviceInfo=_info(disk.label, f"{disk.capacity_bytes // 1024:,} KB"),
        backing=_backing(state, disk, len(disk.layers) - 1),
        controllerKey=disk.controller_key,
        unitNumber=disk.unit,
        capacityInKB=disk.capacity_bytes // 1024,
        capacityInBytes=disk.capacity_bytes,
        shares=vim.SharesInfo(shares=1000, level="normal"),
        storageIOAllocation=vim.StorageResourceManager.IOAllocationInfo(
            limit=-1, shares=vim.SharesInfo(shares=1000, level="normal"), reservation=0
        ),
        diskObjectId=disk.object_id,
        nativeUnmanagedLinkedClone=False,
    )


def _backing(state: LabState, disk: VirtualDisk, index: int) -> Any:
    layer = disk.layers[index]
    build = _BACKINGS.get(RDM if disk.rdm else layer.format, _flat)  # a mapping's delta is a mapping too
    backing = build(disk, layer)
    backing.fileName = layer.file_name
    store = next((ds for ds in state.datastores.values() if ds.name == layer.datastore), None)
    backing.datastore = reference("Datastore", store.moref) if store else None
    backing.diskMode = disk.mode
    backing.uuid = disk.uuid
    backing.contentId = f"{layer.cid:08x}" * 4
    backing.changeId = layer.change_id
    if disk.key_id and hasattr(backing, "keyId"):
        backing.keyId = key_id(disk.key_id)
    if index:
        backing.parent = _backing(state, disk, index - 1)
    return backing


def key_id(key: str) -> Any:
    """An encryption key's name as the API shows it."""
    return vim.encryption.CryptoKeyId(keyId=key, providerId=vim.encryption.KeyProviderId(id="lab-kms"))


def _flat(disk: VirtualDisk, layer: Layer) -> Any:
    return vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
        thinProvisioned=disk.thin,
        writeThrough=False,
        split=False,
        sharing=disk.sharing,
        deltaDiskFormat="redoLogFormat" if layer.format not in (FLAT, RDM) else None,
    )


def _se_sparse(disk: VirtualDisk, layer: Layer) -> Any:
    backing = _flat(disk, layer)
    backing.deltaDiskFormat = "seSparseFormat"
    backing.deltaGrainSize = 4
    return backing


def _rdm(disk: VirtualDisk, layer: Layer) -> Any:  # noqa: ARG001
    return vim.vm.device.VirtualDisk.RawDiskMappingVer1BackingInfo(
        compatibilityMode=disk.rdm or "virtualMode",
        lunUuid="0200000000600508b1001c",
        deviceName="vml.0200000000600508b1001c",
        sharing=disk.sharing,
    )


_BACKINGS: dict[str, Callable[[VirtualDisk, Layer], Any]] = {SE_SPARSE: _se_sparse, RDM: _rdm}


def _nic(state: LabState, nic: Nic, number: int) -> Any:
    network = state.networks.get(nic.network)
    return NIC_TYPES.get(nic.kind, vim.vm.device.VirtualVmxnet3)(
        key=nic.key,
        deviceInfo=_info(f"Network adapter {number}", network.name if network else ""),
        backing=vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(
            deviceName=wire_name(network.name) if network else "",
            network=reference("Network", nic.network) if network else None,
            useAutoDetect=False,
        ),
        connectable=vim.vm.device.VirtualDevice.ConnectInfo(
            startConnected=nic.connected,
            allowGuestControl=True,
            connected=nic.connected,
            status="ok" if nic.connected else "untried",
        ),
        controllerKey=PCI_KEY,
        unitNumber=6 + number,
        addressType=nic.address_type,
        macAddress=nic.mac,
        wakeOnLanEnabled=True,
    )
