"""Whether a snapshot's files are what nobody writes to, before the reading and still after it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from vbm.errors import NotFoundError
from vbm.ids import DiskKey
from vbm.vsphere.model import VirtualDisk, VirtualMachine, VmSnapshot
from vbm.vsphere.properties import properties_of
from vbm.vsphere.session import Session
from vbm.vsphere.soap import vim
from vbm.vsphere.transports.errors import ActiveFileError, SnapshotMovedError

_PATHS: Final = ("config.hardware.device", "runtime.powerState")


def active_heads(session: Session, vm: VirtualMachine) -> dict[DiskKey, str]:
    """The files that the VM writes to now, by disk; empty for one that is powered off: nobody writes."""
    values = properties_of(session, session.vm(vm.moref), _PATHS)
    if str(values.get("runtime.powerState")) == "poweredOff":
        return {}
    return dict(_files(values.get("config.hardware.device")))


def refuse_active(disk: VirtualDisk, heads: dict[DiskKey, str]) -> None:
    """Raises ActiveFileError where the snapshot's file is one that a running VM writes to."""
    if disk.file_name in heads.values():
        raise ActiveFileError(
            f"{disk.label}: {disk.file_name} is the file that the running VM writes to; the snapshot froze nothing"
        )


def check_still_frozen(session: Session, vm: VirtualMachine, snapshot: VmSnapshot) -> None:
    """To be called after the last byte was read and before it is relied on.

    Raises SnapshotMovedError where the snapshot is gone, its disks have other files than when it was made (a
    storage migration), or the VM writes to one of them (a revert).
    """
    try:
        values = properties_of(session, session.snapshot(snapshot.moref), ["config.hardware.device"])
    except NotFoundError as error:
        raise SnapshotMovedError(
            f"{vm.name}: the snapshot {snapshot.name} vanished while it was read"
        ) from error
    now = dict(_files(values.get("config.hardware.device")))
    for disk in snapshot.disks:
        if now.get(disk.key) != disk.file_name:
            raise SnapshotMovedError(
                f"{vm.name}: {disk.label} moved from {disk.file_name} to {now.get(disk.key)} while it was read",
                hint="it was migrated during the backup; the next try reads it from its new place",
            )


def _files(devices: Iterable[object] | None) -> Iterable[tuple[DiskKey, str]]:
    for device in devices or ():
        if isinstance(device, vim.vm.device.VirtualDisk):
            yield DiskKey(device.key), getattr(device.backing, "fileName", None) or ""
