"""The VMX of a restored VM: hardware and disks; adapters are added once it is registered.

Keys as ESXi writes them; see the VMX files of any host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from vbm.errors import InputError
from vbm.ids import DiskKey
from vbm.vsphere.import_spec import carried_settings
from vbm.vsphere.making import MARK
from vbm.vsphere.restore_spec import RestoreSpec

# controller type → bus in the VMX, and its virtualDev where the bus has several kinds
_BUSES: Final = {
    "ParaVirtualSCSIController": ("scsi", "pvscsi"),
    "VirtualLsiLogicController": ("scsi", "lsilogic"),
    "VirtualLsiLogicSASController": ("scsi", "lsisas1068"),
    "VirtualBusLogicController": ("scsi", "buslogic"),
    "VirtualAHCIController": ("sata", ""),
    "VirtualNVMEController": ("nvme", ""),
    "VirtualIDEController": ("ide", ""),
}


def vmx_settings(
    document: Mapping[str, Any], spec: RestoreSpec, disks: Mapping[DiskKey, str], nvram: str, mark: str = ""
) -> dict[str, str]:
    """``disks``: the descriptor of each, beside the VMX; ``mark``: that it is half made."""
    cpu, memory = document.get("cpu") or {}, document.get("memory") or {}
    if not cpu.get("count") or not memory.get("size_mib"):
        raise InputError("the restore point's configuration does not say how many CPUs or how much memory")
    settings = {
        "config.version": "8",
        "virtualHW.version": str(document.get("hardware_version") or "vmx-13")
        .removeprefix("vmx-")
        .lstrip("0"),
        "displayName": spec.name,
        "guestOS": _guest(str(document.get("guest_id") or "otherGuest64")),
        "firmware": str(document.get("firmware") or "bios"),
        "memSize": str(memory["size_mib"]),
        "numvcpus": str(cpu["count"]),
        "nvram": nvram,
        "pciBridge0.present": "TRUE",
        "vmci0.present": "TRUE",
    }
    if cpu.get("cores_per_socket"):
        settings["cpuid.coresPerSocket"] = str(cpu["cores_per_socket"])
    if document.get("annotation"):
        settings["annotation"] = str(document["annotation"])
    if (document.get("boot") or {}).get("secure_boot"):
        settings["uefi.secureBoot.enabled"] = "TRUE"
    if mark:
        settings[MARK] = mark
    if not spec.keep_identity:
        settings["uuid.action"] = "create"
    return settings | carried_settings(document) | _disks(document, disks)


def _guest(guest_id: str) -> str:
    """``debian12-64`` of ``debian12_64Guest``, nearly as the VMX spells all; the exact id is set afterwards."""
    if guest_id == "otherGuest64":
        return "other-64"
    return re.sub(r"_?64$", "-64", guest_id.removesuffix("Guest")).lower()


def _disks(document: Mapping[str, Any], names: Mapping[DiskKey, str]) -> dict[str, str]:
    controllers = {c["key"]: c for c in document.get("controllers") or ()}
    settings: dict[str, str] = {}
    for disk in document.get("disks") or ():
        if disk["key"] not in names:
            continue
        controller = controllers.get(disk["controller_key"]) or {}
        if controller.get("type") not in _BUSES:
            raise InputError(f"disks at a controller of type {controller.get('type')!r} can't be restored")
        bus, device = _BUSES[controller["type"]]
        slot = f"{bus}{controller.get('bus_number') or 0}"
        settings[f"{slot}.present"] = "TRUE"
        if device:
            settings[f"{slot}.virtualDev"] = device
            settings[f"{slot}.sharedBus"] = "none"
        settings[f"{slot}:{disk['unit_number']}.present"] = "TRUE"
        settings[f"{slot}:{disk['unit_number']}.fileName"] = names[DiskKey(disk["key"])]
        if device or bus == "ide":
            kind = "ata-hardDisk" if bus == "ide" else "scsi-hardDisk"
            settings[f"{slot}:{disk['unit_number']}.deviceType"] = kind
    return settings
