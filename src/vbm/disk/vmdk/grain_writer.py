"""Random-access writing of a delta extent, as a host does it for a running VM with a snapshot.

Order on disk: data, then the table's entries, then nothing more; a new table is named in the directory while
it is still all PARENT. So whatever instant the process dies at, the file is a valid extent.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from vbm.disk.byte_source import SourceCutShortError, read_fully, write_fully
from vbm.disk.raw import Data, check_range, create_file
from vbm.disk.reader import Buffer, DiskReader
from vbm.disk.vmdk.errors import VmdkUnsupportedError
from vbm.disk.vmdk.grains import ABSENT, ZERO, Grains, Mapped, Where, map_grains, place_runs
from vbm.units import MIB

_HEAD_BYTES: Final = 4096  # enough for either format's header
_STEP_BYTES: Final = 256 * MIB


@dataclass(frozen=True, slots=True)
class Layout:
    """Geometry of one extent file, in bytes and counts."""

    capacity_bytes: int
    grain_bytes: int
    table_grains: int
    entry_bytes: int
    first_free: int  # nothing is allocated below
    directory_offset: int
    tables: int


class GrainWriter(ABC):
    """A delta extent open for reading and writing at any byte offset; created where the path is free.

    ``parent`` (of what lies below this extent) fills the rest of a grain that is written in part; without
    one it is zeros. It is also a layer of a ``ChainReader`` and a ``ByteSource``. Thread-safe; readers of
    a range that is being written see old or new bytes. One process at a time.
    """

    def __init__(
        self, path: Path, capacity_bytes: int | None = None, *, parent: DiskReader | None = None
    ) -> None:
        self._path = path
        self._parent = parent
        self._lock = threading.RLock()
        self._descriptor = -1
        if path.exists():
            self._open(capacity_bytes)
        else:
            self._create(capacity_bytes)
        self.capacity_bytes = self._shape.capacity_bytes
        self.grain_bytes = self._shape.grain_bytes
        self.table_grains = self._shape.table_grains

    def _open(self, capacity_bytes: int | None) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._end = self.size_bytes
            head = bytearray(min(_HEAD_BYTES, self._end))
            self.readinto_at(0, head)
            self._shape = self._parse(bytes(head), self._end)
            if capacity_bytes not in {None, self._shape.capacity_bytes}:
                raise VmdkUnsupportedError(f"{self._path} is not {capacity_bytes} bytes long")
        except BaseException:
            self.close()
            raise
        self._end = max(self._shape.first_free, -(-self._end // 512) * 512)

    def _create(self, capacity_bytes: int | None) -> None:
        if capacity_bytes is None:
            raise VmdkUnsupportedError(f"no capacity was given for the new extent {self._path}")
        self._shape, parts = self._layout(capacity_bytes)
        self._descriptor = create_file(self._path, overwrite=False)
        self._end = self._shape.first_free
        os.truncate(self._descriptor, self._end)
        for offset, data in parts.items():
            write_fully(self._descriptor, offset, data)

    @abstractmethod
    def _layout(self, capacity_bytes: int) -> tuple[Layout, dict[int, bytes]]:
        """The geometry of a new extent and what its file begins with, by offset."""

    @abstractmethod
    def _parse(self, data: bytes, file_bytes: int) -> Layout:
        """The geometry of the extent whose file begins so."""

    @abstractmethod
    def _new_table(self, index: int) -> tuple[int, bytes]:
        """Where the table with that place in the directory goes, and its directory entry."""

    @abstractmethod
    def _decode_directory(self, raw: bytes) -> Grains: ...

    @abstractmethod
    def _decode_table(self, raw: bytes) -> Grains: ...

    @abstractmethod
    def _encode_table(self, grains: Grains) -> bytes: ...

    @property
    def size_bytes(self) -> int:
        return os.fstat(self._descriptor).st_size

    @property
    def source(self) -> GrainWriter:
        return self

    def read_at(self, offset: int, length: int) -> bytes:
        if offset < 0 or offset + length > self.size_bytes:
            raise SourceCutShortError(f"{self._path} has no bytes at {offset}+{length}")
        data = bytearray(length)
        self.readinto_at(offset, data)
        return bytes(data)

    def readinto_at(self, offset: int, buffer: Buffer) -> None:
        read_fully(self._descriptor, offset, buffer, self._path)

    def map(self, start: int, length: int) -> list[Mapped]:
        with self._lock:
            return map_grains(self, start, length)

    def changes(self) -> Iterator[Mapped]:
        """All that this extent has of its own, DATA and ZERO, ascending: what a consolidation moves."""
        for start in range(0, self.capacity_bytes, _STEP_BYTES):
            for part in self.map(start, min(_STEP_BYTES, self.capacity_bytes - start)):
                if part.where is not Where.PARENT:
                    yield part

    def directory(self, first: int, count: int) -> Grains:
        size = self._shape.entry_bytes
        return self._decode_directory(self.read_at(self._shape.directory_offset + first * size, count * size))

    def table(self, offset: int, first: int, count: int) -> Grains:
        size = self._shape.entry_bytes
        return self._decode_table(self.read_at(offset + first * size, count * size))

    def write(self, offset: int, data: Data) -> None:
        """The bytes are in this extent afterwards. Raises InputError outside the capacity."""
        check_range(offset, len(data), self.capacity_bytes)
        with self._lock:
            for start, piece in self._by_table(offset, memoryview(data)):
                self._write_in_table(start, piece)

    def zero(self, offset: int, length: int) -> None:
        """The range reads as zeros afterwards; whole grains give up their data."""
        check_range(offset, length, self.capacity_bytes)
        grain, end = self.grain_bytes, offset + length
        first = -(-offset // grain) * grain
        last = end if end == self.capacity_bytes else end // grain * grain
        if first >= last:
            self.write(offset, bytes(length))
            return
        self.write(offset, bytes(first - offset))
        self.write(last, bytes(end - last))
        with self._lock:
            self._mark_zero(first // grain, -(-last // grain))

    def flush(self) -> None:
        """All that was written survives a power loss."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """May be called twice. Does not close the parent."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _by_table(self, offset: int, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        span = self.grain_bytes * self.table_grains
        done = 0
        while done < len(data):
            start = offset + done
            size = min(len(data) - done, span - start % span)
            yield start, data[done : done + size]
            done += size

    def _write_in_table(self, offset: int, data: memoryview) -> None:
        grain = self.grain_bytes
        first, last = offset // grain, (offset + len(data) - 1) // grain
        whole = self._whole_grains(offset, data, first, last)
        place = self._table_for(first // self.table_grains)
        at = first % self.table_grains
        grains = self.table(place, at, last + 1 - first).copy()
        changed = False
        for low, high in place_runs(grains, grain):
            if grains[low] < 0:
                target = self._allocate((high - low) * grain)
                grains[low:high] = target + np.arange(high - low, dtype=np.int64) * grain
                changed = True
            write_fully(self._descriptor, int(grains[low]), whole[low * grain : high * grain])
        if changed:
            self._store(place, at, grains)

    def _whole_grains(self, offset: int, data: memoryview, first: int, last: int) -> memoryview:
        """The data with the rest of its first and last grain around it."""
        grain = self.grain_bytes
        before, size = offset - first * grain, (last + 1 - first) * grain
        if before == 0 and len(data) == size:
            return data
        whole = bytearray(size)
        view = memoryview(whole)
        self._read_grain(first, view[:grain])
        if last > first:
            self._read_grain(last, view[-grain:])
        whole[before : before + len(data)] = data
        return view

    def _read_grain(self, index: int, buffer: memoryview) -> None:
        """What the guest sees of that grain now; beyond the disk's end zeros."""
        start = index * self.grain_bytes
        size = min(self.grain_bytes, self.capacity_bytes - start)
        (part,) = self.map(start, size)
        if part.where is Where.DATA:
            self.readinto_at(part.file_offset, buffer[:size])
        elif part.where is Where.PARENT and self._parent is not None:
            size = min(size, self._parent.capacity_bytes - start)
            if size > 0:
                self._parent.readinto(start, buffer[:size])

    def _mark_zero(self, first: int, end: int) -> None:
        index = first
        while index < end:
            at = index % self.table_grains
            count = min(end - index, self.table_grains - at)
            self._store(self._table_for(index // self.table_grains), at, np.full(count, ZERO, np.int64))
            index += count

    def _table_for(self, index: int) -> int:
        place = int(self.directory(index, 1)[0])
        if place != ABSENT:
            return place
        place, entry = self._new_table(index)
        where = self._shape.directory_offset + index * self._shape.entry_bytes
        write_fully(self._descriptor, where, entry)
        return place

    def _store(self, place: int, first: int, grains: Grains) -> None:
        write_fully(self._descriptor, place + first * self._shape.entry_bytes, self._encode_table(grains))

    def _allocate(self, size: int) -> int:
        """Room at the end of the file, zeros until written."""
        offset = self._end
        self._end += size
        os.truncate(self._descriptor, self._end)
        return offset
