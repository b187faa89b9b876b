"""Restore of a whole VM to vSphere, as a new one, from a restore point alone."""

from __future__ import annotations

from dataclasses import dataclass

from vbm.cancel import CancelToken
from vbm.clock import Clock, SystemClock
from vbm.errors import InputError
from vbm.ids import MoRef, RestorePointId
from vbm.progress import Progress, Silent
from vbm.repository.manifest import Manifest
from vbm.repository.repository import Repository
from vbm.vsphere.restore_spec import RestoreSpec
from vbm.vsphere.restore_target import import_vm
from vbm.vsphere.session import Session


@dataclass(frozen=True, slots=True)
class RestoredVm:
    """``disks``: how many; ``left_out``: labels of disks that the restore point does not hold."""

    moref: MoRef
    name: str
    vcenter: str
    restore_point: RestorePointId
    disks: int
    capacity_bytes: int
    duration_seconds: float
    left_out: tuple[str, ...] = ()


def restore_vm(
    session: Session,
    repo: Repository,
    point: RestorePointId,
    spec: RestoreSpec,
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    clock: Clock | None = None,
) -> RestoredVm:
    """Make the VM anew with every disk of the restore point. Where it fails or is cancelled nothing remains.

    Raises InputError where the restore point is no VM's, DamagedError where a chunk is not what it was, and what
    the vSphere side raises.
    """
    progress, cancel, clock = progress or Silent(), cancel or CancelToken(), clock or SystemClock()
    begun = clock.monotonic()
    manifest = repo.manifest(point)
    if not manifest.config:
        raise InputError(
            f"restore point {point} holds no VM's configuration, only disks",
            hint="restore its disks: vbm restore disk",
        )
    disks = {
        e.disk_key: repo.disk_reader(point, e.disk_key) for e in manifest.disks if e.disk_key is not None
    }
    progress.phase("connecting")
    try:
        cancel.check()
        files = {path: repo.read_file(point, path) for path in _files(manifest)}
        moref = import_vm(session, manifest.config, disks, spec, progress, cancel, files=files)
    finally:
        for reader in disks.values():
            reader.close()
    for disk in manifest.excluded_disks:
        progress.warn(f"{disk.get('label', 'a disk')} is not in the restore point: {disk.get('reason', '')}")
    progress.phase("done")
    return RestoredVm(
        moref=moref,
        name=spec.name,
        vcenter=session.endpoint.name,
        restore_point=point,
        disks=len(disks),
        capacity_bytes=manifest.size_bytes,
        duration_seconds=clock.monotonic() - begun,
        left_out=tuple(str(disk.get("label", "")) for disk in manifest.excluded_disks),
    )


def _files(manifest: Manifest) -> list[str]:
    return [entry.path for entry in manifest.files if not entry.is_disk]
