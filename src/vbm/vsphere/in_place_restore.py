"""Restored disks in place of a VM's own: made and filled beside them first, exchanged at the end in one step.

The VM is off and has no snapshots. Until the exchange, which vSphere does whole or not at all, nothing of the VM
is touched; the replaced files are deleted only once the VM is seen to have the new ones. Hardware, networks and
settings stay as they are now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from vbm.cancel import CancelToken
from vbm.errors import InputError, NotFoundError, VbmError
from vbm.ids import DiskKey, new_id
from vbm.progress import Progress
from vbm.retry import RetryPolicy, retry
from vbm.vsphere import finish_restore, half_made, inventory, tasks
from vbm.vsphere.datastore_path import DatastorePath
from vbm.vsphere.lease_devices import disk_addresses
from vbm.vsphere.making import PREFIX, HalfMade, Making
from vbm.vsphere.model import VirtualDisk, VirtualMachine
from vbm.vsphere.properties import properties_of
from vbm.vsphere.restore_spec import HalfMadeVmError, RestoreFailedError, RestoreSpec
from vbm.vsphere.session import Session
from vbm.vsphere.soap import vim

if TYPE_CHECKING:
    from vbm.disk.reader import DiskReader
    from vbm.vsphere.restore_target import Job

_SETTLING: Final = RetryPolicy(attempts=4, first_seconds=0.2, longest_seconds=3)
_Change: Final = vim.vm.device.VirtualDeviceSpec


class NotReplaceableError(InputError):
    """The VM as it is now can't take the disks; nothing was changed."""

    code = "not-replaceable"


@dataclass(frozen=True, slots=True)
class Target:
    """The VM whose disks are replaced."""

    vm: VirtualMachine
    disks: Mapping[DiskKey, VirtualDisk]


def find_target(session: Session, document: Mapping[str, Any], disks: Mapping[DiskKey, DiskReader]) -> Target:
    """The VM of which the restore point is. Raises NotReplaceableError, NotFoundError."""
    uuid = str(document.get("instance_uuid") or "")
    if not uuid:
        raise NotReplaceableError("the restore point does not say which VM it is of")
    try:
        vm = inventory.find_vm(session, uuid)
    except NotFoundError as error:
        raise NotFoundError(
            f"the VM {document.get('name')!r} ({uuid}) is no longer in {session.where}",
            hint="restore it as a new VM",
        ) from error
    _check_state(vm)
    now = {d.key: d for d in vm.disks}
    for key, reader in disks.items():
        if key not in now:
            raise NotReplaceableError(f"{vm.name} has no disk {key} now", hint="restore it as a new VM")
        if now[key].capacity_bytes != reader.capacity_bytes:
            raise NotReplaceableError(
                f"{vm.name}: {now[key].label} has {now[key].capacity_bytes} bytes now, "
                f"{reader.capacity_bytes} in the restore point",
                hint="restore it as a new VM",
            )
    return Target(vm, {key: now[key] for key in disks})


def temporary_vm(
    target: Target, document: Mapping[str, Any], spec: RestoreSpec, session: Session
) -> tuple[dict[str, Any], RestoreSpec]:
    """The document and the wishes of the VM that carries the new disks until the exchange."""
    vm = target.vm
    was = dict(document.get("placement") or {})
    was |= {"datacenter": vm.datacenter, "folder": vm.folder, "host": vm.host, "vmx_path": vm.vmx_path}
    carrier = {**document, "nics": [], "custom_attributes": {}, "extra_config": {}, "placement": was}
    name = PREFIX + new_id(session.clock.now())
    wishes = replace(
        spec, name=name, in_place=False, power_on=False, keep_identity=False, folder="", datacenter=""
    )
    return carrier, wishes


def exchange(job: Job, target: Target, making: Making) -> bool:
    """Give the carrier's disks to the target; whether nothing else is left of what was needed for it.

    On failure the target is as it was and the carrier gone.
    """
    try:
        loose = _take_off(job, making)
        for number, key in enumerate(job.disks):
            loose[key] = _move(job, target, making, number, loose[key])
        _replace(job, target, making, loose)
    except BaseException:
        if _settled(job, making):
            making.over()
        raise
    return _settled(job, making)


def _settled(job: Job, making: Making) -> bool:
    """What can't be removed now is warned of, and stays written down."""
    try:
        retry(
            lambda: settle(job.session, making.half, job.progress),
            _SETTLING,
            CancelToken(),  # a cancelled restore is tidied up all the same
            transient=lambda error: not isinstance(error, HalfMadeVmError),  # that was tried long enough
        )
    except VbmError as error:
        job.progress.warn(error.message)
        making.release()
        return False
    return True


def settle(
    session: Session,
    half: HalfMade,
    progress: Progress,
    *,
    keep_replaced: bool = False,
    waits: tuple[float, ...] = half_made.UNDO_WAITS,
) -> bool:
    """Whether the target has its new disks; the carrier is gone, and every disk that is no VM's.

    Only what the target is seen not to use is deleted: a call whose answer was lost may have been carried out.
    ``keep_replaced``: long after the restore somebody may have laid hands on the old disks: they are named and left.
    Raises HalfMadeVmError, and what asking the target raises.
    """
    used = _used_by(session, half.target)
    exchanged = bool(half.new) and used is not None and set(half.new) <= used
    half_made.remove(session, half, waits)
    unused = [file for file in (half.replaced if exchanged else half.loose) if file not in (used or ())]
    if used is None or (exchanged and keep_replaced):
        if unused:
            why = "the VM is no longer there" if used is None else "they were replaced by a restore"
            progress.warn(f"these disks of {half.target} are left, {why}: {', '.join(unused)}")
        return exchanged
    for file in unused:
        _delete_disk(session, half, file, progress)
    return exchanged


def _used_by(session: Session, moref: str) -> set[str] | None:
    """The disk files of the VM, once no call is under way; None where it is not there."""
    try:
        half_made.wait_until_quiet(session, moref, CancelToken())
        return _files_of(_devices(session, moref))
    except NotFoundError:
        return None


def _files_of(devices: list[Any]) -> set[str]:
    """Of all disks, parents of deltas too."""
    files: set[str] = set()
    for device in devices:
        backing = device.backing if isinstance(device, vim.vm.device.VirtualDisk) else None
        while backing is not None:
            files.add(getattr(backing, "fileName", None) or "")
            backing = getattr(backing, "parent", None)
    return files


def _check_state(vm: VirtualMachine) -> None:
    if vm.power_state != "poweredOff":
        raise NotReplaceableError(f"{vm.name} is {vm.power_state}", hint="power it off first")
    if vm.snapshot_names:
        raise NotReplaceableError(
            f"{vm.name} has {len(vm.snapshot_names)} snapshots",
            hint="remove them first, or restore as a new VM",
        )


def _devices(session: Session, moref: str) -> list[Any]:
    values = properties_of(session, session.vm(moref), ["config.hardware.device"])
    return list(values.get("config.hardware.device") or ())


def _take_off(job: Job, making: Making) -> dict[DiskKey, DatastorePath]:
    """Detach the carrier's disks, files kept; where each disk's file is."""
    devices = _devices(job.session, making.half.moref)
    by_address = {address: key for key, address in disk_addresses(devices).items()}
    disks = {d.key: d for d in devices if isinstance(d, vim.vm.device.VirtualDisk)}
    wanted = document_addresses(job.document)
    found = {key: disks[by_address[wanted[key]]] for key in job.disks}
    making.reach("loose", loose=tuple(d.backing.fileName for d in found.values()))
    changes = [_Change(operation=_Change.Operation.remove, device=d) for d in found.values()]
    if changes:
        carrier = job.session.vm(making.half.moref)
        finish_restore.reconfigure(job, carrier, vim.vm.ConfigSpec(deviceChange=changes))
    return {key: DatastorePath.parse(d.backing.fileName) for key, d in found.items()}


def document_addresses(document: Mapping[str, Any]) -> dict[DiskKey, str]:
    """``ParaVirtualSCSIController0:1`` of each disk, as ``disk_addresses`` writes it."""
    controllers = {c["key"]: c for c in document.get("controllers") or ()}
    return {
        DiskKey(d["key"]): (
            f"{controllers[d['controller_key']]['type']}"
            f"{controllers[d['controller_key']].get('bus_number') or 0}:{d['unit_number']}"
        )
        for d in document.get("disks") or ()
        if d["controller_key"] in controllers
    }


def _move(job: Job, target: Target, making: Making, number: int, source: DatastorePath) -> DatastorePath:
    """Into the target's folder, under a name of its own."""
    vmx = DatastorePath.parse(target.vm.vmx_path)
    stem = vmx.name.removesuffix(".vmx")
    suffix = new_id(job.session.clock.now()).rpartition("-")[2]
    destination = vmx.sibling(f"{stem}_restored_{suffix}_{number}.vmdk")
    making.reach("loose", loose=(*making.half.loose, str(destination)))
    _run(
        job.session,
        lambda c: c.virtualDiskManager.MoveVirtualDisk_Task(
            sourceName=str(source),
            sourceDatacenter=job.placement.datacenter,
            destName=str(destination),
            destDatacenter=job.placement.datacenter,
            force=False,
        ),
    )
    return destination


def _replace(job: Job, target: Target, making: Making, new: Mapping[DiskKey, DatastorePath]) -> None:
    job.cancel.check()
    _check_state(inventory.get_vm(job.session, target.vm.moref))
    devices = {d.key: d for d in _devices(job.session, target.vm.moref)}
    off: list[Any] = []
    on: list[Any] = []
    for number, (key, path) in enumerate(new.items()):
        old = devices[key]
        if old.backing.fileName != target.disks[key].file_name:
            raise RestoreFailedError(
                f"{target.vm.name}: {target.disks[key].label} became another file during the restore"
            )
        backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
            fileName=str(path), diskMode=old.backing.diskMode or "persistent"
        )
        disk = vim.vm.device.VirtualDisk(
            key=-(2000 + number),
            controllerKey=old.controllerKey,
            unitNumber=old.unitNumber,
            capacityInKB=old.capacityInKB,
            capacityInBytes=old.capacityInBytes,
            backing=backing,
        )
        off.append(_Change(operation=_Change.Operation.remove, device=old))
        on.append(_Change(operation=_Change.Operation.add, device=disk))
    replaced = tuple(disk.file_name for disk in target.disks.values())
    making.reach("exchanging", new=tuple(map(str, new.values())), replaced=replaced)
    # not cancelled from here on: the outcome must be known
    task = job.session.call(
        lambda _c: job.session.vm(target.vm.moref).ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=off + on))
    )
    tasks.wait_for(job.session, task)
    _check_exchanged(job, target, new)


def _check_exchanged(job: Job, target: Target, new: Mapping[DiskKey, DatastorePath]) -> None:
    have = _files_of(_devices(job.session, target.vm.moref))
    if not {str(path) for path in new.values()} <= have:
        raise RestoreFailedError(
            f"{target.vm.name} did not take the restored disks: it has {', '.join(sorted(have))}",
            hint="nothing was deleted; check its disks in the vSphere Client",
        )


def _delete_disk(session: Session, half: HalfMade, file: str, progress: Progress) -> None:
    try:
        _run(
            session,
            lambda c: c.virtualDiskManager.DeleteVirtualDisk_Task(
                name=file, datacenter=session.object("Datacenter", half.datacenter)
            ),
        )
    except VbmError as error:
        if not isinstance(error, NotFoundError) and error.context.get("fault") != "FileNotFound":
            progress.warn(f"{file} is no longer used and could not be deleted: {error.message}")


def _run(session: Session, start: Callable[[Any], Any]) -> None:
    tasks.wait_for(session, session.call(start))
