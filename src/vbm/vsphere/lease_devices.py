"""Which file of a lease belongs to which disk: leases name disks by controller, bus and unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vbm.ids import DiskKey
from vbm.vsphere import soap
from vbm.vsphere.nfc_lease import LeaseDevice, LeaseFailedError
from vbm.vsphere.soap import vim


def disk_addresses(devices: Iterable[Any]) -> dict[DiskKey, str]:
    """``VirtualLsiLogicController0:1`` of each disk among the devices, in their order."""
    known = list(devices)
    controllers = {d.key: d for d in known if isinstance(d, vim.vm.device.VirtualController)}
    addresses: dict[DiskKey, str] = {}
    for disk in known:
        if isinstance(disk, vim.vm.device.VirtualDisk):
            controller = controllers.get(disk.controllerKey)
            kind = soap.type_name(controller) if controller is not None else "VirtualIDEController"
            bus = controller.busNumber if controller is not None else (disk.controllerKey or 0) % 2
            addresses[DiskKey(disk.key)] = f"{kind}{bus}:{disk.unitNumber or 0}"
    return addresses


def match(files: Sequence[LeaseDevice], addresses: Mapping[DiskKey, str]) -> dict[DiskKey, LeaseDevice]:
    """The file of each disk that the lease has one for. Raises LeaseFailedError rather than guess.

    A server that names no controllers (``/vm-1/disk:0``) lists the disks in the order of their devices.
    """
    disks = [file for file in files if file.is_disk]
    found: dict[DiskKey, LeaseDevice] = {}
    for key, address in addresses.items():
        named = [file for file in disks if _names(file, address)]
        if len(named) == 1:
            found[key] = named[0]
        elif named:
            raise _unclear(disks, addresses)
    if found or not disks:
        return found
    plain = all("controller" not in (file.key + file.import_key).lower() for file in disks)
    if plain and len(disks) == len(addresses):
        return dict(zip(addresses, disks, strict=True))
    raise _unclear(disks, addresses)


def _unclear(disks: Sequence[LeaseDevice], addresses: Mapping[DiskKey, str]) -> LeaseFailedError:
    return LeaseFailedError(
        f"the lease names {len(disks)} disks ({', '.join(file.key for file in disks)[:300]}) for "
        f"{', '.join(addresses.values())[:300]}: they can't be told apart"
    )


def _names(file: LeaseDevice, address: str) -> bool:
    suffix = f"/{address}".lower()
    return file.key.lower().endswith(suffix) or file.import_key.lower().endswith(suffix)
