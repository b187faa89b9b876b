"""What of an interrupted read is already safe in the repository, so that the next process reads only the rest.

Beside the run's state, one file a disk: records of finished chunks, appended and flushed only after the repository
has confirmed that everything put so far is durable. A record torn by a crash ends the file; nothing after it counts.

Record, little-endian: magic ``VBMd``, first chunk u64, count u32, CRC-32 u32 of first, count and ids; then 32 bytes
an id. Thread-safe; one process at a time owns a run's folder.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from vbm.clock import Clock
from vbm.disk.extents import Extent, merge
from vbm.engine.copier import ChunkMap
from vbm.engine.durable_file import replace_file, sync_folder
from vbm.engine.geometry import Geometry
from vbm.ids import ZERO_CHUNK, ChunkId, DiskKey, RunId
from vbm.units import GIB

EVERY_SECONDS: Final = 10.0
EVERY_BYTES: Final = 4 * GIB
_HEADER: Final = struct.Struct("<4sQII")
_CHECKED: Final = struct.Struct("<QI")
_MAGIC: Final = b"VBMd"
_MOST: Final = 1 << 20  # chunks in one record; more is damage

Records = list[tuple[int, list[ChunkId]]]


class DurableSink(Protocol):
    """``checkpoint`` returns when all chunks put so far survive a power loss."""

    def checkpoint(self) -> None: ...


class AdoptingSink(Protocol):
    """``adopt`` answers which of the ids are in the repository and may be relied on from now on."""

    def adopt(self, ids: Iterable[ChunkId]) -> set[ChunkId]: ...


class RunFolder:
    """``VBM_HOME/runs/<run id>``: the run's state and what its disks have finished."""

    def __init__(self, home: Path, run_id: RunId) -> None:
        self.path = home / "runs" / run_id

    def save_state(self, data: bytes) -> None:
        replace_file(self.path / "state.json", data)

    def load_state(self) -> bytes | None:
        try:
            return (self.path / "state.json").read_bytes()
        except FileNotFoundError:
            return None

    def disk_file(self, key: DiskKey) -> Path:
        return self.path / f"disk-{key}.done"

    def remove(self) -> None:
        """The run needs no resuming any more. Another process may be removing it too."""
        with suppress(FileNotFoundError):
            for file in self.path.iterdir():
                file.unlink(missing_ok=True)
            self.path.rmdir()


def remove_orphans(home: Path, known: Callable[[], set[RunId]]) -> None:
    """Remove what runs have left whose snapshots are gone: ``known`` answers the runs in the ledger.

    The ledger is asked after the folders are listed: a run is in it before it has a folder.
    """
    runs = home / "runs"
    there = [RunId(folder.name) for folder in runs.iterdir()] if runs.is_dir() else []
    living = known() if there else set()
    for run in there:
        if run not in living:
            RunFolder(home, run).remove()


class Checkpoint:
    """The journal of one run: collects finished chunks and writes them down every few seconds."""

    def __init__(
        self,
        folder: RunFolder,
        sink: DurableSink,
        clock: Clock,
        *,
        chunk_bytes: int,
        every_seconds: float = EVERY_SECONDS,
        every_bytes: int = EVERY_BYTES,
    ) -> None:
        self._folder = folder
        self._sink = sink
        self._clock = clock
        self._every_seconds = every_seconds
        self._every_chunks = max(1, every_bytes // chunk_bytes)
        self._pending: dict[DiskKey, Records] = {}
        self._count = 0
        self._last = clock.monotonic()
        self._lock = threading.Lock()
        self._writing = threading.Lock()

    def add(self, key: DiskKey, first: int, ids: list[ChunkId]) -> None:
        """These chunks were put. The thread that finds a checkpoint due makes it; the others go on."""
        with self._lock:
            self._pending.setdefault(key, []).append((first, ids))
            self._count += len(ids)
            due = (
                self._count >= self._every_chunks
                or self._clock.monotonic() - self._last >= self._every_seconds
            )
        if due and self._writing.acquire(blocking=False):
            try:
                self._write()
            finally:
                self._writing.release()

    def flush(self) -> None:
        """Everything added so far is durable and written down when this returns."""
        with self._writing:
            self._write()

    def _write(self) -> None:
        with self._lock:
            batch, self._pending, self._count = self._pending, {}, 0
            self._last = self._clock.monotonic()
        if not batch:
            return
        self._sink.checkpoint()
        for key, records in batch.items():
            _append(self._folder.disk_file(key), records)


def finished(folder: RunFolder, key: DiskKey) -> Iterator[tuple[int, list[ChunkId]]]:
    """The records of one disk, in the order written; ends at the first that is torn."""
    try:
        file = folder.disk_file(key).open("rb")
    except FileNotFoundError:
        return
    with file:
        while (record := _read(file.read(_HEADER.size), file.read)) is not None:
            yield record


def adopt(
    folder: RunFolder, key: DiskKey, sink: AdoptingSink, target: ChunkMap, geometry: Geometry
) -> list[Extent]:
    """Take over what an interrupted run finished: set it in the map; answers the chunks that need no reading.

    A chunk that is no longer in the repository is left out, to be read again.
    """
    done: list[Extent] = []
    for first, ids in finished(folder, key):
        present = sink.adopt(i for i in ids if i != ZERO_CHUNK)
        for number, chunk_id in enumerate(ids, first):
            if number < geometry.count and (chunk_id == ZERO_CHUNK or chunk_id in present):
                target.set(number, chunk_id)
                done.append(geometry.run(number, 1))
        if len(done) > 100_000:
            done = merge(done)
    return merge(done)


class _Read(Protocol):
    def __call__(self, size: int, /) -> bytes: ...


def _read(header: bytes, read: _Read) -> tuple[int, list[ChunkId]] | None:
    if len(header) < _HEADER.size:
        return None
    magic, first, count, crc = _HEADER.unpack(header)
    if magic != _MAGIC or count > _MOST:
        return None
    ids = read(32 * count)
    if len(ids) < 32 * count or zlib.crc32(ids, zlib.crc32(_CHECKED.pack(first, count))) != crc:
        return None
    return first, [ChunkId(ids[i : i + 32]) for i in range(0, len(ids), 32)]


def _append(path: Path, records: Records) -> None:
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        for first, ids in records:
            data = b"".join(ids)
            crc = zlib.crc32(data, zlib.crc32(_CHECKED.pack(first, len(ids))))
            file.write(_HEADER.pack(_MAGIC, first, len(ids), crc) + data)
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        sync_folder(path.parent)
