"""Restores: one disk into an image file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vbm.cancel import CancelToken
from vbm.engine.restore import ImageFormat, RestoredDisk, restore_disk
from vbm.errors import InputError, NotFoundError
from vbm.ids import DiskKey
from vbm.progress import Progress
from vbm.repository.manifest import FileEntry, Manifest
from vbm.services.restore_points import Found


@dataclass(frozen=True, slots=True)
class DiskOrder:
    """Which disk of the restore point, and where to."""

    disk: str  # key or index
    output: Path
    image_format: ImageFormat = "raw"
    force: bool = False


def disk_to_file(found: Found, order: DiskOrder, progress: Progress, cancel: CancelToken) -> RestoredDisk:
    """Write the disk into a new image file. Raises what the engine and the repository raise."""
    entry = chosen_disk(found.manifest, order.disk)
    assert entry.disk_key is not None  # noqa: S101 - chosen among the disks
    return restore_disk(
        found.repository,
        found.manifest.restore_point_id,
        entry.disk_key,
        order.output.expanduser().absolute(),
        image_format=order.image_format,
        force=order.force,
        progress=progress,
        cancel=cancel,
    )


def chosen_disk(manifest: Manifest, given: str) -> FileEntry:
    """The disk of that key (2000), or of that index from 0. NotFoundError lists those there are."""
    if not (given.isascii() and given.isdigit()):
        raise InputError(f"not a disk: {given!r}", hint=f"give a key or an index: {_known(manifest)}")
    number = int(given)
    for entry in manifest.disks:
        if entry.disk_key == DiskKey(number):
            return entry
    if number < len(manifest.disks):
        return manifest.disks[number]
    raise NotFoundError(
        f"restore point {manifest.restore_point_id} has no disk {given}", hint=f"it has {_known(manifest)}"
    )


def _known(manifest: Manifest) -> str:
    return (
        ", ".join(f"{d.disk_key} ({d.label or f'index {i}'})" for i, d in enumerate(manifest.disks)) or "none"
    )
