"""A VM's configuration as of a snapshot, kept so that any vCenter can rebuild the VM from it.

Taken from the snapshot's own config: the VM's has moved on to the new delta files. The document, plain JSON:

    format              1
    name, annotation, guest_id, guest_name, hardware_version, instance_uuid, bios_uuid, power_state
    firmware            "bios" | "efi";  boot: secure_boot, delay_ms, enter_setup, retry …
    cpu, memory         count / size_mib, cores_per_socket, hot_add, reservation, limit, shares, shares_level
    controllers[]       key, type ("ParaVirtualSCSIController", …), label, bus_number, shared_bus, pci_slot …
    disks[]             key, label, capacity_bytes, controller_key, unit_number, file_name, uuid, disk_object_id,
                        mode, sharing, thin, eager, backing, datastore, change_id
    nics[]              key, label, type ("VirtualVmxnet3", …), mac, address_type, network, network_moref,
                        distributed {switch_uuid, portgroup}, start_connected, wake_on_lan
    extra_config        name → value, without what a host writes for itself
    custom_attributes   name → value
    placement           vcenter, vcenter_uuid, datacenter, folder, resource_pool, pool_path, host, cluster,
                        datastores, vmx_path
    snapshot            name, created, quiesced
    notes[]             what could not be captured, in words
    raw                 the snapshot's whole ConfigInfo as ``soap.to_json`` writes it
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from vbm.clock import rfc3339
from vbm.errors import VbmError
from vbm.units import KIB, MIB
from vbm.vsphere import soap
from vbm.vsphere.datastore_files import fetch_small
from vbm.vsphere.devices import split_path
from vbm.vsphere.model import CapturedConfig, VirtualDisk, VirtualMachine, VmSnapshot
from vbm.vsphere.properties import properties_of, properties_of_each
from vbm.vsphere.session import Session
from vbm.vsphere.soap import vim
from vbm.vsphere.topology import Topology, unescape

FORMAT: Final = 1
_VMX_LIMIT: Final = 1 * MIB
_NVRAM_LIMIT: Final = 16 * MIB
_DESCRIPTOR_LIMIT: Final = 64 * KIB
_DESCRIPTOR_START: Final = b"# Disk DescriptorFile"
_OF_THE_HOST: Final = re.compile(
    r"ctkEnabled$|^nvram$|^sched\.swap\.derivedName$|^migrate\.|^vmotion\.|^monitor\.phys_bits|^softPowerOff$"
    r"|^toolsInstallManager|^tools\.(remindInstall|syncTime)|^vmware\.tools\.|^viv\.|^cleanShutdown$"
    r"|^numa\.autosize|^guestinfo\.(vmtools|detailed|appInfo|driver)|\.redo$|^vc\.uuid$|^evcCompatibilityMode$",
    re.IGNORECASE,
)


def capture(session: Session, vm: VirtualMachine, snapshot: VmSnapshot) -> CapturedConfig:
    """The document and the files ``vm.vmx``, ``vm.nvram`` and ``disk-<key>.vmdk`` (descriptors as frozen).

    A file that can't be had (a VM never powered on has no NVRAM; vSAN gives out no files) becomes a note, not an
    error: disks can be restored without. Raises ObjectGoneError where VM or snapshot are gone.
    """
    config = properties_of(session, session.snapshot(snapshot.moref), ["config"])["config"]
    seen = properties_of(
        session,
        session.vm(vm.moref),
        ["runtime.host", "resourcePool", "network", "customValue", "availableField"],
    )
    notes: list[str] = []
    files = tuple(_files(session, vm, snapshot, config, notes))
    document = _document(session, vm, snapshot, config, seen)
    document["notes"] = notes
    return CapturedConfig(document=document, files=files)


def _document(
    session: Session, vm: VirtualMachine, snapshot: VmSnapshot, config: Any, seen: dict[str, Any]
) -> dict[str, Any]:
    devices = config.hardware.device or ()
    return {
        "format": FORMAT,
        "name": vm.name,
        "annotation": config.annotation or "",
        "guest_id": config.guestId or "",
        "guest_name": config.guestFullName or "",
        "hardware_version": config.version or "",
        "instance_uuid": vm.instance_uuid,
        "bios_uuid": vm.bios_uuid,
        "power_state": vm.power_state,
        "firmware": config.firmware or "bios",
        "boot": _boot(config.bootOptions),
        "cpu": _cpu(config),
        "memory": _memory(config),
        "controllers": [_controller(d) for d in devices if _is_controller(d)],
        "disks": [_disk(d, devices) for d in snapshot.disks],
        "nics": _nics(session, devices, seen.get("network") or ()),
        "extra_config": _extra_config(config.extraConfig),
        "custom_attributes": _custom_attributes(seen),
        "placement": _placement(session, vm, snapshot, seen),
        "snapshot": {
            "name": snapshot.name,
            "created": rfc3339(snapshot.created),
            "quiesced": snapshot.quiesced,
        },
        "raw": soap.to_json(config),
    }


def _boot(options: Any) -> dict[str, Any]:
    if options is None:
        return {}
    return _set_only(
        secure_boot=options.efiSecureBootEnabled,
        delay_ms=options.bootDelay,
        enter_setup=options.enterBIOSSetup,
        retry=options.bootRetryEnabled,
        retry_delay_ms=options.bootRetryDelay,
        network_protocol=options.networkBootProtocol,
    )


def _cpu(config: Any) -> dict[str, Any]:
    return _set_only(
        count=config.hardware.numCPU,
        cores_per_socket=config.hardware.numCoresPerSocket,
        hot_add=config.cpuHotAddEnabled,
        hot_remove=config.cpuHotRemoveEnabled,
        **_allocation(config.cpuAllocation),
    )


def _memory(config: Any) -> dict[str, Any]:
    return _set_only(
        size_mib=config.hardware.memoryMB,
        hot_add=config.memoryHotAddEnabled,
        **_allocation(config.memoryAllocation),
    )


def _allocation(allocation: Any) -> dict[str, Any]:
    if allocation is None:
        return {}
    shares = allocation.shares
    return {
        "reservation": allocation.reservation,
        "limit": allocation.limit,
        "shares": shares.shares if shares else None,
        "shares_level": str(shares.level) if shares else None,
    }


def _is_controller(device: Any) -> bool:
    return isinstance(device, vim.vm.device.VirtualController)


def _controller(device: Any) -> dict[str, Any]:
    return _set_only(
        key=device.key,
        type=soap.type_name(device),
        label=device.deviceInfo.label if device.deviceInfo else None,
        bus_number=device.busNumber,
        shared_bus=getattr(device, "sharedBus", None),
        unit_number=device.unitNumber,
        controller_key=device.controllerKey,
        pci_slot=getattr(device.slotInfo, "pciSlotNumber", None),
    )


def _disk(disk: VirtualDisk, devices: Iterable[Any]) -> dict[str, Any]:
    device = next(d for d in devices if d.key == disk.key)
    return {
        "key": disk.key,
        "label": disk.label,
        "capacity_bytes": disk.capacity_bytes,
        "controller_key": disk.controller_key,
        "unit_number": disk.unit_number,
        "file_name": disk.file_name,
        "uuid": disk.uuid,
        "disk_object_id": disk.disk_object_id,
        "mode": disk.mode,
        "sharing": disk.sharing,
        "thin": disk.thin,
        "eager": bool(getattr(device.backing, "eagerlyScrub", False)),
        "backing": disk.backing,
        "datastore": disk.datastore,
        "change_id": disk.change_id,
    }


def _nics(session: Session, devices: Iterable[Any], networks: Iterable[Any]) -> list[dict[str, Any]]:
    names = _network_names(session, list(networks))
    cards = [d for d in devices if isinstance(d, vim.vm.device.VirtualEthernetCard)]
    return [_nic(card, names) for card in cards]


def _network_names(session: Session, networks: list[Any]) -> dict[str, str]:
    found = properties_of_each(session, networks, ["name"], kind=vim.Network)
    return {moref: unescape(values.get("name", "")) for moref, values in found.items()}


def _nic(card: Any, names: dict[str, str]) -> dict[str, Any]:
    backing, connectable = card.backing, card.connectable
    port = getattr(backing, "port", None)
    network = getattr(backing, "network", None)
    moref = port.portgroupKey if port is not None else network._moId if network is not None else ""
    return {
        "key": card.key,
        "label": card.deviceInfo.label if card.deviceInfo else "",
        "type": soap.type_name(card),
        "mac": card.macAddress or "",
        "address_type": card.addressType or "",
        "network": names.get(moref or "") or unescape(getattr(backing, "deviceName", None) or ""),
        "network_moref": moref or "",
        "distributed": {"switch_uuid": port.switchUuid, "portgroup": port.portgroupKey}
        if port is not None
        else None,
        "start_connected": bool(connectable.startConnected) if connectable else True,
        "wake_on_lan": bool(card.wakeOnLanEnabled),
    }


def _extra_config(options: Iterable[Any] | None) -> dict[str, str]:
    return {o.key: str(o.value) for o in options or () if not _OF_THE_HOST.search(o.key)}


def _custom_attributes(seen: dict[str, Any]) -> dict[str, str]:
    names = {field.key: field.name for field in seen.get("availableField") or ()}
    return {
        names[v.key]: str(v.value)
        for v in seen.get("customValue") or ()
        if v.key in names and getattr(v, "value", None) is not None
    }


def _placement(
    session: Session, vm: VirtualMachine, snapshot: VmSnapshot, seen: dict[str, Any]
) -> dict[str, Any]:
    topology = Topology.read(session)
    return {
        "vcenter": vm.vcenter,
        "vcenter_uuid": session.about.get("instance_uuid", ""),
        "datacenter": vm.datacenter,
        "folder": vm.folder,
        "resource_pool": vm.resource_pool,
        "pool_path": topology.pool_path(seen.get("resourcePool")),
        "host": vm.host,
        "cluster": topology.cluster(seen.get("runtime.host")),
        "datastores": sorted({d.datastore for d in snapshot.disks}),
        "vmx_path": vm.vmx_path,
    }


def _set_only(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


# -- files


def _files(
    session: Session, vm: VirtualMachine, snapshot: VmSnapshot, config: Any, notes: list[str]
) -> Iterator[tuple[str, bytes]]:
    vmx_path = config.files.vmPathName or vm.vmx_path
    wanted = [("vm.vmx", vmx_path, _VMX_LIMIT), ("vm.nvram", _nvram_path(vmx_path, config), _NVRAM_LIMIT)]
    wanted += [(f"disk-{d.key}.vmdk", d.file_name, _DESCRIPTOR_LIMIT) for d in snapshot.disks]
    for name, path, limit in wanted:
        try:
            content = fetch_small(session, path, vm.datacenter, limit)
        except VbmError as error:
            notes.append(f"{name} was not captured: {error.message}")
            continue
        if name.startswith("disk-") and not content.startswith(_DESCRIPTOR_START):
            notes.append(f"{name} was not captured: {path} is no disk descriptor")
            continue
        yield name, content


def _nvram_path(vmx_path: str, config: Any) -> str:
    """Beside the VMX: by the name that the configuration gives it, else by the VMX's own."""
    datastore, relative = split_path(vmx_path)
    named = next((str(o.value) for o in config.extraConfig or () if o.key == "nvram" and o.value), "")
    name = posixpath.basename(named) or posixpath.splitext(posixpath.basename(relative))[0] + ".nvram"
    return f"[{datastore}] {posixpath.join(posixpath.dirname(relative), name)}"
