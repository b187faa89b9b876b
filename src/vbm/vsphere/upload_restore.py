"""A VM from files laid onto a datastore: for where an import lease can't be had.

Flat extents, descriptors and a VMX are put into a new folder, the VM is registered, then given its adapters. Every
disk goes over the wire whole, holes as zeros, and takes its full size; only datastores that are file systems.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from vbm.disk.vmdk.descriptor import flat_descriptor
from vbm.disk.vmx import render_vmx
from vbm.ids import DiskKey, MoRef
from vbm.units import MIB, format_size
from vbm.vsphere import tasks
from vbm.vsphere.datastore_path import DatastorePath
from vbm.vsphere.datastore_put import put, put_bytes
from vbm.vsphere.faults import NoSpaceError, VsphereFaultError
from vbm.vsphere.finish_restore import reconfigure
from vbm.vsphere.import_spec import adapters, carried_settings
from vbm.vsphere.making import Making
from vbm.vsphere.new_vmx import vmx_settings
from vbm.vsphere.restore_placement import network_backing, wire_name
from vbm.vsphere.restore_spec import RestoreFailedError
from vbm.vsphere.soap import vim

if TYPE_CHECKING:
    from vbm.vsphere.restore_target import Job

_PIECE_BYTES: Final = 4 * MIB
_FOLDERS_TRIED: Final = 50


def restore(job: Job, making: Making) -> MoRef:
    """The registered VM. On failure the caller removes what was made."""
    needed = sum(reader.capacity_bytes for reader in job.disks.values())
    if needed > job.placement.free_bytes:
        raise NoSpaceError(
            f"uploaded disks take their full {format_size(needed)}; the datastore "
            f"{job.placement.datastore_name} has {format_size(job.placement.free_bytes)} free",
            hint="name another datastore, or free space there; nothing was changed",
        )
    making.reach("laid", folder=str(_make_folder(job)))
    vmx = _lay_files(job, making)
    made = _register(job, vmx)
    making.reach("made", moref=made)
    changes = adapters(
        job.document,
        job.spec,
        job.placement.networks,
        lambda network: network_backing(job.session, network),
    )
    settings = carried_settings(job.document).items()
    change = vim.vm.ConfigSpec(
        deviceChange=changes,
        guestId=job.document.get("guest_id") or None,
        extraConfig=[vim.option.OptionValue(key=key, value=value) for key, value in settings],
    )
    reconfigure(job, job.session.vm(made), change)
    return MoRef(made)


def _make_folder(job: Job) -> DatastorePath:
    stem = re.sub(r"[^\w .()@+-]", "_", job.spec.name).strip(" .") or "restored"
    for number in range(_FOLDERS_TRIED):
        path = DatastorePath(job.placement.datastore_name, stem if number == 0 else f"{stem}_{number}")
        try:
            job.session.call(
                lambda c, p=path: c.fileManager.MakeDirectory(  # type: ignore[misc]
                    name=str(p), datacenter=job.placement.datacenter, createParentDirectories=False
                )
            )
            return path
        except VsphereFaultError as error:
            if error.context.get("fault") != "FileAlreadyExists":
                raise
    raise RestoreFailedError(f"there are {_FOLDERS_TRIED} folders called {stem!r} on the datastore already")


def _lay_files(job: Job, making: Making) -> DatastorePath:
    """Extents, descriptors, VMX, in this order; answers the VMX's path."""
    folder = DatastorePath.parse(making.half.folder)
    stem = folder.name
    names: dict[DiskKey, str] = {}
    for number, (key, reader) in enumerate(job.disks.items()):
        name = f"{stem}.vmdk" if number == 0 else f"{stem}_{number}.vmdk"
        flat = name.removesuffix(".vmdk") + "-flat.vmdk"
        names[key] = name
        _put(job, _inside(folder, flat), _whole(job, key), reader.capacity_bytes)
        text = flat_descriptor(reader.capacity_bytes, flat, thin=False).render()
        _put_bytes(job, _inside(folder, name), text.encode())
    vmx = _inside(folder, f"{stem}.vmx")
    settings = vmx_settings(job.document, job.spec, names, f"{stem}.nvram", making.half.mark)
    _put_bytes(job, vmx, render_vmx(settings))
    return vmx


def _whole(job: Job, key: DiskKey) -> Iterator[memoryview]:
    """Every byte of the disk, in one reused buffer."""
    reader = job.disks[key]
    buffer = memoryview(bytearray(min(_PIECE_BYTES, reader.capacity_bytes)))
    advance = job.advance(key)
    for offset in range(0, reader.capacity_bytes, len(buffer)):
        part = buffer[: min(len(buffer), reader.capacity_bytes - offset)]
        reader.readinto(offset, part)
        yield part
        advance(len(part))


def _put(job: Job, path: DatastorePath, parts: Iterator[memoryview], size_bytes: int) -> None:
    put(job.session, path, job.placement.datacenter_path, parts, size_bytes, job.cancel)


def _put_bytes(job: Job, path: DatastorePath, content: bytes) -> None:
    put_bytes(job.session, path, job.placement.datacenter_path, content, job.cancel)


def _inside(folder: DatastorePath, name: str) -> DatastorePath:
    return DatastorePath(folder.datastore, f"{folder.path}/{name}")


def _register(job: Job, vmx: DatastorePath) -> str:
    place = job.placement
    task = job.session.call(
        lambda _c: place.folder.RegisterVM_Task(
            path=str(vmx), name=wire_name(job.spec.name), asTemplate=False, pool=place.pool, host=place.host
        )
    )
    made: Any = tasks.wait_for(job.session, task)
    return str(made._moId)
