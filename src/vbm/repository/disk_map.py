"""Disk maps: the chunk ids of one disk in order, in segments, so that a disk of any size takes little memory.

``header segment* table trailer``: a segment holds 4,096 ids, compressed and sealed; one of zero chunks alone takes
no bytes. Segments are read when they are asked for.
"""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final, overload

from vbm.errors import InputError
from vbm.ids import ZERO_CHUNK, ChunkId
from vbm.objectstore.base import Data, ObjectStore
from vbm.repository.envelope import Envelope
from vbm.repository.format import LARGEST_CHUNK_BYTES, SMALLEST_CHUNK_BYTES, FormatError
from vbm.units import MIB, TIB

SEGMENT_IDS: Final = 4096
ID_BYTES: Final = 32
SEGMENT_BYTES: Final = SEGMENT_IDS * ID_BYTES
_HEADER: Final = struct.Struct("<4sIQQ")  # magic, chunk size, capacity, chunks
_ROW: Final = struct.Struct("<QI")  # offset, length
_TRAILER: Final = struct.Struct("<QI4s")  # table offset, table length, magic
_MAGIC: Final = b"VBMM"
_END: Final = b"MMBV"
_LARGEST_DISK: Final = 1024 * TIB
_ZEROS: Final = bytes(SEGMENT_BYTES)
_CACHED: Final = 16


def chunk_count(capacity_bytes: int, chunk_size_bytes: int) -> int:
    return -(-capacity_bytes // chunk_size_bytes)


class DiskMap:
    """A stored map, read lazily. Thread-safe. Damage raises FormatError when the segment is read."""

    def __init__(self, store: ObjectStore, envelope: Envelope, key: str) -> None:
        self._store = store
        self._envelope = envelope
        self.key = key
        self.chunk_size_bytes, self.capacity_bytes, self.count = self._read_header()
        self._rows = self._read_table()
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def _read_header(self) -> tuple[int, int, int]:
        magic, chunk, capacity, count = _HEADER.unpack(self._store.get_range(self.key, 0, _HEADER.size))
        sane = SMALLEST_CHUNK_BYTES <= chunk <= LARGEST_CHUNK_BYTES and 0 < capacity <= _LARGEST_DISK
        if magic != _MAGIC or not sane or count != chunk_count(capacity, chunk):
            raise FormatError(f"{self.key} is not a disk map", key=self.key)
        return chunk, capacity, count

    def _read_table(self) -> bytes:
        size = self._store.size(self.key)
        trailer = self._store.get_range(self.key, max(0, size - _TRAILER.size), _TRAILER.size)
        offset, length, end = _TRAILER.unpack(trailer)
        if end != _END or offset + length + _TRAILER.size != size:
            raise FormatError(f"{self.key} has a damaged trailer", key=self.key)
        rows = self._envelope.open(f"{self.key} table", self._store.get_range(self.key, offset, length))
        if rows[: _HEADER.size] != _HEADER.pack(
            _MAGIC, self.chunk_size_bytes, self.capacity_bytes, self.count
        ):
            raise FormatError(f"{self.key} has a table of another map", key=self.key)
        if len(rows) - _HEADER.size != -(-self.count // SEGMENT_IDS) * _ROW.size:
            raise FormatError(f"{self.key} has a table of {len(rows)} bytes", key=self.key)
        return rows[_HEADER.size :]

    def segment(self, number: int) -> bytes:
        """The ids of chunks ``number * 4096`` and on, 32 bytes each, zeros past the end."""
        with self._lock:
            if number in self._cache:
                self._cache.move_to_end(number)
                return self._cache[number]
        content = self._read_segment(number)
        with self._lock:
            self._cache[number] = content
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        return content

    def _read_segment(self, number: int) -> bytes:
        offset, length = _ROW.unpack_from(self._rows, number * _ROW.size)
        if not length:
            return _ZEROS
        stored = self._store.get_range(self.key, offset, length)
        content = self._envelope.open(f"{self.key} segment {number}", stored)
        if len(content) != SEGMENT_BYTES:
            raise FormatError(f"{self.key} has a segment of {len(content)} bytes", key=self.key)
        return content

    @property
    def segments(self) -> int:
        return -(-self.count // SEGMENT_IDS)

    def is_zero_segment(self, number: int) -> bool:
        """Whether all chunks of the segment are zeros, known without reading it."""
        return bool(_ROW.unpack_from(self._rows, number * _ROW.size)[1] == 0)

    def ids(self, first: int, count: int) -> bytes:
        """``count`` ids from chunk ``first``, 32 bytes each."""
        if first < 0 or count < 0 or first + count > self.count:
            raise InputError(f"{self.key} has no chunks {first} to {first + count}")
        parts = []
        end = first + count
        while first < end:
            number, start = divmod(first, SEGMENT_IDS)
            stop = min(SEGMENT_IDS, start + end - first)
            parts.append(self.segment(number)[start * ID_BYTES : stop * ID_BYTES])
            first += stop - start
        return b"".join(parts)

    def id(self, index: int) -> ChunkId:
        """The id of one chunk; ZERO_CHUNK for zeros."""
        return ChunkId(self.ids(index, 1))

    def used(self) -> Iterator[tuple[int, ChunkId]]:
        """Every chunk that is not zeros, ascending: its index and id. Bounded memory."""
        for number in range(self.segments):
            if self.is_zero_segment(number):
                continue
            content = self.segment(number)
            for at in range(0, SEGMENT_BYTES, ID_BYTES):
                chunk = content[at : at + ID_BYTES]
                if chunk != ZERO_CHUNK:
                    yield number * SEGMENT_IDS + at // ID_BYTES, ChunkId(chunk)


class MapBuilder:
    """A map being made. What is never set comes from ``base``, or is zeros. Thread-safe, little memory.

    Ids go to a temporary file that has no name; which of them were set is one bit a chunk.
    """

    def __init__(self, capacity_bytes: int, chunk_size_bytes: int, base: DiskMap | None = None) -> None:
        if base is not None and (base.capacity_bytes, base.chunk_size_bytes) != (
            capacity_bytes,
            chunk_size_bytes,
        ):
            raise InputError(f"{base.key} is a map of a disk of another size")
        if not 0 < capacity_bytes <= _LARGEST_DISK:
            raise InputError(f"a disk of {capacity_bytes} bytes can't be stored")
        self.capacity_bytes = capacity_bytes
        self.chunk_size_bytes = chunk_size_bytes
        self.count = chunk_count(capacity_bytes, chunk_size_bytes)
        self._base = base
        self._file = tempfile.TemporaryFile(prefix="vbm-map-")  # noqa: SIM115 - closed by close()
        self._set = bytearray(-(-self.count // 8))
        self._lock = threading.Lock()

    def set(self, index: int, chunk: ChunkId) -> None:
        if not 0 <= index < self.count or len(chunk) != ID_BYTES:
            raise InputError(f"chunk {index} of {self.count} can't be set")
        os.pwrite(self._file.fileno(), chunk, index * ID_BYTES)
        with self._lock:
            self._set[index >> 3] |= 1 << (index & 7)

    def is_set(self, index: int) -> bool:
        return bool(self._set[index >> 3] >> (index & 7) & 1)

    def get(self, index: int) -> ChunkId:
        """The id that the finished map will have there."""
        if self.is_set(index):
            return ChunkId(os.pread(self._file.fileno(), ID_BYTES, index * ID_BYTES))
        return self._base.id(index) if self._base else ZERO_CHUNK

    @property
    def segments(self) -> int:
        return -(-self.count // SEGMENT_IDS)

    def segment(self, number: int) -> bytes:
        """The ids of one segment as they will be stored; zeros past the end."""
        flags = self._set[number * SEGMENT_IDS // 8 : (number + 1) * SEGMENT_IDS // 8]
        if not any(flags):
            return self._base.segment(number) if self._base else _ZEROS
        own = os.pread(self._file.fileno(), SEGMENT_BYTES, number * SEGMENT_BYTES).ljust(SEGMENT_BYTES, b"\0")
        if self._base is None:
            return own
        merged = bytearray(self._base.segment(number))
        for at in range(min(SEGMENT_IDS, self.count - number * SEGMENT_IDS)):
            if flags[at >> 3] >> (at & 7) & 1:
                merged[at * ID_BYTES : (at + 1) * ID_BYTES] = own[at * ID_BYTES : (at + 1) * ID_BYTES]
        return bytes(merged)

    def close(self) -> None:
        """Give the temporary file back. May be called twice."""
        self._file.close()


class SpooledMap(Sequence[Data]):
    """A finished map in a temporary file, given to a store piece by piece: ``put`` takes it as its parts."""

    def __init__(self, builder: MapBuilder, envelope: Envelope, key: str) -> None:
        self._file = tempfile.TemporaryFile(prefix="vbm-map-")  # noqa: SIM115 - closed by close()
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        self._write_all(builder, envelope, key)
        self.sha256 = self._digest.hexdigest()

    def _write_all(self, builder: MapBuilder, envelope: Envelope, key: str) -> None:
        header = _HEADER.pack(_MAGIC, builder.chunk_size_bytes, builder.capacity_bytes, builder.count)
        self._append(header)
        rows = bytearray(header)
        for number in range(builder.segments):
            content = builder.segment(number)
            sealed = b"" if content == _ZEROS else envelope.seal(f"{key} segment {number}", content)
            rows += _ROW.pack(self.size_bytes, len(sealed))
            self._append(sealed)
        table = envelope.seal(f"{key} table", bytes(rows))
        offset = self.size_bytes
        self._append(table)
        self._append(_TRAILER.pack(offset, len(table), _END))

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.size_bytes += len(data)

    def __len__(self) -> int:
        return (self.size_bytes + MIB - 1) // MIB

    @overload
    def __getitem__(self, index: int) -> Data: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Data]: ...
    def __getitem__(self, index: int | slice) -> Data | Sequence[Data]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        self._file.flush()
        return os.pread(self._file.fileno(), MIB, index * MIB)

    def close(self) -> None:
        self._file.close()


def checksum(store: ObjectStore, key: str) -> str:
    """SHA-256 of a stored object, read piece by piece."""
    digest = hashlib.sha256()
    size = store.size(key)
    for offset in range(0, size, 4 * MIB):
        digest.update(store.get_range(key, offset, min(4 * MIB, size - offset)))
    return digest.hexdigest()
