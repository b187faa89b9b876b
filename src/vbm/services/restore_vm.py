"""Restore of a whole virtual machine to a vCenter or ESXi host."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass

from vbm.cancel import CancelToken
from vbm.errors import DamagedError, InputError
from vbm.ids import DiskKey, MoRef
from vbm.progress import Progress
from vbm.repository.chunks import StoredDisk
from vbm.services import vcenters
from vbm.services.leftovers import remove_leftovers
from vbm.services.restore_points import Found
from vbm.services.workspace import Workspace
from vbm.vsphere.restore_spec import RestoreSpec
from vbm.vsphere.restore_target import import_vm


@dataclass(frozen=True, slots=True)
class RestoredVm:
    """What was made, and where."""

    name: str
    moref: MoRef
    vcenter: str
    disks: tuple[DiskKey, ...]
    capacity_bytes: int


def check(spec: RestoreSpec) -> None:
    """Raises InputError for what no vCenter could do, before anybody is asked anything."""
    spec.check()
    if spec.in_place:
        raise InputError(
            "restoring over an existing VM is not possible yet",
            hint="restore it as a new one with --name, check that, then remove the old one",
        )


def restore_vm(
    workspace: Workspace,
    found: Found,
    vcenter: str | None,
    spec: RestoreSpec,
    progress: Progress,
    cancel: CancelToken,
) -> RestoredVm:
    """Make the VM from the restore point. What a failure leaves half made is removed again by the import."""
    check(spec)
    manifest = found.manifest
    if not manifest.config:
        raise DamagedError(
            f"restore point {manifest.restore_point_id} holds no VM configuration",
            hint="restore its disks one by one: vbm restore disk",
        )
    with ExitStack() as stack:
        session = stack.enter_context(vcenters.connect(workspace, vcenter, cancel))
        remove_leftovers(workspace, session, progress, cancel)
        disks: dict[DiskKey, StoredDisk] = {}
        for entry in manifest.disks:
            if entry.disk_key is not None:
                reader = found.repository.disk_reader(manifest.restore_point_id, entry.disk_key)
                disks[entry.disk_key] = stack.enter_context(closing(reader))
        files = {
            entry.path: found.repository.read_file(manifest.restore_point_id, entry.path)
            for entry in manifest.files
            if not entry.is_disk
        }
        moref = import_vm(session, manifest.config, disks, spec, progress, cancel, files=files)
        return RestoredVm(
            name=spec.name,
            moref=moref,
            vcenter=session.endpoint.name,
            disks=tuple(disks),
            capacity_bytes=manifest.size_bytes,
        )
