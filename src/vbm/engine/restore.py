"""Restore of one disk to an image file, and of a whole VM to vSphere. Every chunk is checked before it is used.

Formats: ``raw`` (sparse), ``qcow2`` (version 3) and ``vmdk``, which is monolithicFlat: ``x.vmdk`` names the sparse
``x-flat.vmdk`` beside it. That is read by Workstation, Fusion, qemu and VirtualBox, holds more than 2 TiB, and is as
fast as raw; streamOptimized, which ESXi wants on import, is made on the way where a VM is restored.

An image is written under a temporary name in its folder and renamed when it is complete and flushed: a file of the
wanted name is either a whole disk or was there before.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from vbm.cancel import CancelToken
from vbm.disk.image_writer import open_image_writer
from vbm.disk.raw import ImageWriter
from vbm.disk.vmdk.descriptor import flat_descriptor
from vbm.engine.durable_file import replace_file, sync_folder
from vbm.engine.errors import OutputExistsError, OutputWriteError
from vbm.engine.geometry import Geometry
from vbm.engine.pool import run_pool
from vbm.errors import DamagedError, InputError
from vbm.ids import ChunkId, DiskKey, RestorePointId
from vbm.progress import Progress, Silent
from vbm.repository.disk_map import DiskMap
from vbm.repository.repository import Repository

ImageFormat = Literal["raw", "qcow2", "vmdk"]
READERS: Final = 4
_RUN: Final = 8  # chunks that one thread takes at a time


@dataclass(frozen=True, slots=True)
class RestoredDisk:
    """``bytes_written`` leaves out what is zeros."""

    path: Path
    disk_key: DiskKey
    capacity_bytes: int
    bytes_written: int


def restore_disk(
    repo: Repository,
    point: RestorePointId,
    key: DiskKey,
    output: Path,
    *,
    image_format: ImageFormat = "raw",
    force: bool = False,
    workers: int = READERS,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> RestoredDisk:
    """Write the disk into a new file. Raises OutputExistsError, OutputWriteError, DamagedError, CancelledError.

    Nothing is left behind where it fails. ``force`` replaces a file that is there, at the very end.
    """
    progress, cancel = progress or Silent(), cancel or CancelToken()
    if image_format not in get_args(ImageFormat):
        raise InputError(
            f"no image format {image_format!r}", hint=f"one of {', '.join(get_args(ImageFormat))}"
        )
    manifest = repo.manifest(point)
    entry, disk_map = manifest.disk(key), repo.open_map(manifest, key)
    target = _Target(output, image_format, disk_map.capacity_bytes, force=force)
    writer = target.open()
    try:
        progress.phase("downloading")
        progress.disk(key, entry.label or f"disk {key}", disk_map.capacity_bytes)
        written = _fill(_Filling(repo, disk_map, key, writer, progress, cancel), workers)
        cancel.check()
        progress.phase("committing")
        writer.close()
        target.publish()
    except BaseException:
        writer.discard()
        target.discard()
        raise
    progress.phase("done")
    return RestoredDisk(output, key, disk_map.capacity_bytes, written)


class _Target:
    """The file that will have the wanted name, under a temporary one until it is whole."""

    def __init__(self, output: Path, image_format: ImageFormat, capacity_bytes: int, *, force: bool) -> None:
        self._output = output
        self._format = image_format
        self._capacity_bytes = capacity_bytes
        self._force = force
        is_vmdk = image_format == "vmdk"
        self._data = output.with_name(f"{output.stem}-flat.vmdk") if is_vmdk else output
        self._temporary = self._data.with_name(f".{self._data.name}.{os.getpid()}.part")

    def open(self) -> ImageWriter:
        if not self._output.parent.is_dir():
            raise OutputWriteError(f"{self._output.parent} is not a folder", hint="make it first")
        self._refuse_existing()
        as_format = "raw" if self._format == "vmdk" else self._format
        return open_image_writer(as_format, self._temporary, self._capacity_bytes, overwrite=True)

    def publish(self) -> None:
        self._refuse_existing()
        try:
            self._temporary.replace(self._data)
            if self._format == "vmdk":
                descriptor = flat_descriptor(
                    self._capacity_bytes, self._data.name, create_type="monolithicFlat"
                )
                replace_file(self._output, descriptor.render().encode())
            sync_folder(self._output.parent)
        except OSError as error:
            raise OutputWriteError(f"can't write {self._output}: {error}") from error

    def discard(self) -> None:
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def _refuse_existing(self) -> None:
        for path in {self._output, self._data}:
            if path.is_dir():
                raise OutputExistsError(f"{path} is a folder", hint="name a file")
            if not self._force and (path.exists() or path.is_symlink()):
                raise OutputExistsError(
                    f"{path} exists already", hint="name another file, or use --force to replace it"
                )


@dataclass(frozen=True, slots=True)
class _Filling:
    repo: Repository
    disk_map: DiskMap
    key: DiskKey
    writer: ImageWriter
    progress: Progress
    cancel: CancelToken


def _fill(filling: _Filling, workers: int) -> int:
    """Write every chunk that is not zeros, by several threads; answers the bytes written."""
    runs = _runs(filling.disk_map)
    lock = threading.Lock()
    written: list[int] = []

    def work(stop: threading.Event) -> None:
        count = 0
        while not stop.is_set():
            filling.cancel.check()
            with lock:
                run = next(runs, None)
            if run is None:
                break
            count += _write_run(filling, run)
        with lock:
            written.append(count)

    run_pool(workers, work, f"restore disk {filling.key}")
    return sum(written)


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring chunks, and the zeros before them that need no writing."""

    first: int
    ids: list[ChunkId]
    zeros_bytes: int = 0


def _runs(disk_map: DiskMap) -> Iterator[_Run]:
    """Everything that is not zeros, in short runs; the zeros after the last come as a run without ids."""
    geometry = Geometry(disk_map.capacity_bytes, disk_map.chunk_size_bytes)
    position, run = 0, _Run(0, [])
    for index, chunk in disk_map.used():
        if index != run.first + len(run.ids) or len(run.ids) >= _RUN:
            if run.ids:
                yield run
                position = run.first + len(run.ids)
            run = _Run(index, [], geometry.start(index) - geometry.start(position))
        run.ids.append(chunk)
    if run.ids:
        yield run
        position = run.first + len(run.ids)
    yield _Run(position, [], disk_map.capacity_bytes - min(geometry.start(position), disk_map.capacity_bytes))


def _write_run(filling: _Filling, run: _Run) -> int:
    geometry = Geometry(filling.disk_map.capacity_bytes, filling.disk_map.chunk_size_bytes)
    written = 0
    for index, chunk in enumerate(run.ids, run.first):
        filling.cancel.check()
        data = filling.repo.read_chunk(chunk)
        if len(data) != geometry.length(index):
            raise DamagedError(
                f"chunk {index} of {filling.disk_map.key} has {len(data)} bytes, not {geometry.length(index)}"
            )
        filling.writer.write(geometry.start(index), data)
        written += len(data)
    filling.progress.advance(filling.key, run.zeros_bytes + written)
    return written
