"""A disk image as a restore point, without vSphere: for benchmarks, tests and images from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from vbm.cancel import CancelToken
from vbm.clock import Clock, SystemClock
from vbm.disk.extents import Extent
from vbm.disk.reader import DiskReader
from vbm.engine.disk_copy import DiskOutcome, DiskSource, Previous, Tools, copy_disk
from vbm.engine.rate_limit import RateLimit
from vbm.engine.result import BackupResult, DiskReport
from vbm.engine.telling import Recorder
from vbm.ids import DiskKey, MoRef, RestorePointId, RunId, VmUuid, new_id
from vbm.progress import Progress, Silent
from vbm.repository.manifest import ByteCounts, DiskEntry, ManifestDraft
from vbm.repository.repository import Repository
from vbm.units import MIB

FIRST_DISK: Final = DiskKey(2000)
NO_VM: Final = VmUuid("00000000-0000-0000-0000-000000000000")


def _workers() -> int:
    return min(16, os.cpu_count() or 1) + 1


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """``vm_uuid`` is what restore points of one image have in common.

    ``range_bytes`` is the size of a read: a chunk that was read a moment ago is still in the processor's cache when it
    is hashed and compressed. ``workers``: one a core, and one more because now and then one waits for a pack to be on
    the disk.
    """

    name: str = "image"
    vm_uuid: VmUuid = NO_VM
    disk_key: DiskKey = FIRST_DISK
    audit_chunks: int = 0
    bytes_per_second: int = 0
    workers: int = field(default_factory=_workers)
    range_bytes: int = MIB
    clock: Clock = field(default_factory=SystemClock)
    cancel: CancelToken = field(default_factory=CancelToken)
    progress: Progress = field(default_factory=Silent)


def backup_image(
    reader: DiskReader,
    repo: Repository,
    options: ImageOptions | None = None,
    *,
    parent: RestorePointId | None = None,
    changed: Iterable[Extent] = (),
) -> BackupResult:
    """Store the image. With ``parent`` only ``changed`` is read, the rest is the parent's; else all is read.

    A full read of an image that was stored before adds only chunks that the repository does not have.
    Raises NotFoundError where the parent is missing, InputError where it has another size.
    """
    options = options or ImageOptions()
    begun = options.clock.monotonic()
    started = options.clock.now()
    run_id, point = RunId(new_id(started)), RestorePointId(new_id(started))
    told = Recorder(options.progress)
    source = DiskSource(options.disk_key, options.name, reader, options.range_bytes, options.workers)
    previous = None
    if parent is not None:
        disk_map = repo.disk_map(parent, options.disk_key)
        previous = Previous(disk_map, tuple(changed), options.audit_chunks, run_id)
    told.phase("downloading")
    with repo.writer(owner=f"image {options.name}") as writer:
        tools = Tools(
            writer=writer,
            read_chunk=repo.read_chunk,
            chunk_bytes=repo.config.chunk_size_bytes,
            limit=RateLimit(options.bytes_per_second, options.clock),
            progress=told,
            cancel=options.cancel,
            workers=options.workers,
        )
        outcome = copy_disk(source, tools, previous, reason="an image" if previous is None else "given areas")
        told.phase("committing")
        writer.put_map(_entry(reader, options, outcome), outcome.target)
        writer.commit(
            ManifestDraft(
                restore_point_id=point,
                run_id=run_id,
                vm_name=options.name,
                vm_moref=MoRef(""),
                vm_instance_uuid=options.vm_uuid,
                vcenter="",
                started=started,
                finished=options.clock.now(),
                snapshot="",
                consistency="crash",
                read_mode=outcome.mode,
                transport="image",
                bytes=_counts(outcome),
                parent=parent,
            )
        )
    told.phase("done")
    report = DiskReport.of(options.disk_key, options.name, reader.capacity_bytes, outcome)
    return BackupResult(
        run_id=run_id,
        restore_point=point,
        read_mode=outcome.mode,
        transport="image",
        duration_seconds=options.clock.monotonic() - begun,
        snapshot_removed=True,
        vm_name=options.name,
        consistency="crash",
        resumed=False,
        disks=(report,),
        notes=told.notes,
        warnings=told.warnings,
    )


def _entry(reader: DiskReader, options: ImageOptions, outcome: DiskOutcome) -> DiskEntry:
    return DiskEntry(
        disk_key=options.disk_key,
        disk_uuid="",
        capacity_bytes=reader.capacity_bytes,
        change_id=None,
        path=f"disk-{options.disk_key}.map",
        label=options.name,
        read_mode=outcome.mode,
    )


def _counts(outcome: DiskOutcome) -> ByteCounts:
    return ByteCounts(
        read=outcome.stats.bytes_read,
        changed=outcome.bytes_changed,
        audited=outcome.bytes_audited,
        new=outcome.stats.bytes_new,
        zero=outcome.stats.bytes_zero,
    )
