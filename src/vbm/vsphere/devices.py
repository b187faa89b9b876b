"""Virtual disks of a VM's or a snapshot's configuration, as plain values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from vbm.ids import ChangeId, DiskKey
from vbm.vsphere.model import VirtualDisk
from vbm.vsphere.soap import vim
from vbm.vsphere.topology import Topology

_PATH: Final = re.compile(r"\[(?P<datastore>[^\]]*)\]\s*(?P<path>.*)", re.DOTALL)
_LONGEST_CHAIN: Final = 300

_KINDS: Final = (
    (vim.vm.device.VirtualDisk.RawDiskMappingVer1BackingInfo, "rdm"),
    (vim.vm.device.VirtualDisk.SeSparseBackingInfo, "se-sparse"),
    (vim.vm.device.VirtualDisk.SparseVer2BackingInfo, "sparse"),
    (vim.vm.device.VirtualDisk.FlatVer2BackingInfo, "flat"),
)


def split_path(path: str) -> tuple[str, str]:
    """``("datastore1", "web/web.vmdk")`` of ``[datastore1] web/web.vmdk``; no brackets: ``("", path)``."""
    match = _PATH.fullmatch(path)
    return (match["datastore"], match["path"]) if match else ("", path)


def disks_of(devices: Sequence[Any] | None, topology: Topology) -> tuple[VirtualDisk, ...]:
    """Every virtual disk among the devices, by key. Nothing is left out: ``preflight`` judges."""
    by_key = {device.key: device for device in devices or ()}
    disks = [d for d in by_key.values() if isinstance(d, vim.vm.device.VirtualDisk)]
    return tuple(_disk(d, by_key.get(d.controllerKey), topology) for d in sorted(disks, key=lambda d: d.key))


def _disk(device: Any, controller: Any, topology: Topology) -> VirtualDisk:
    backing = device.backing
    file_name = getattr(backing, "fileName", None) or ""
    datastore = getattr(backing, "datastore", None)
    return VirtualDisk(
        key=DiskKey(device.key),
        label=(device.deviceInfo.label if device.deviceInfo else "") or f"disk {device.key}",
        capacity_bytes=int(device.capacityInBytes or (device.capacityInKB or 0) * 1024),
        file_name=file_name,
        uuid=getattr(backing, "uuid", None) or "",
        disk_object_id=device.diskObjectId or "",
        change_id=_change_id(backing),
        backing=backing_kind(backing),
        mode=getattr(backing, "diskMode", None) or "persistent",
        sharing=getattr(backing, "sharing", None) or "sharingNone",
        thin=bool(getattr(backing, "thinProvisioned", False)),
        encrypted=getattr(backing, "keyId", None) is not None,
        datastore=split_path(file_name)[0] or topology.name(datastore),
        datastore_type=topology.datastore_type(datastore),
        controller_key=device.controllerKey or 0,
        unit_number=device.unitNumber or 0,
        bus_sharing=str(getattr(controller, "sharedBus", None) or "noSharing"),
        chain_depth=chain_depth(backing),
    )


def backing_kind(backing: Any) -> str:
    """flat, sparse, se-sparse, rdm-virtual, rdm-physical, other."""
    for kind, name in _KINDS:
        if isinstance(backing, kind):
            if name == "rdm":
                return "rdm-physical" if backing.compatibilityMode == "physicalMode" else "rdm-virtual"
            return name
    return "other"


def chain_depth(backing: Any) -> int:
    """How many files the disk is read through: 1 without a parent."""
    depth = 0
    while backing is not None and depth < _LONGEST_CHAIN:
        depth += 1
        backing = getattr(backing, "parent", None)
    return depth


def _change_id(backing: Any) -> ChangeId | None:
    text = getattr(backing, "changeId", None)
    return ChangeId(text) if text else None
