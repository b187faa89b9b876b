"""Reading chunks back: found by the index, opened, checked against their ids."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from vbm.disk.extents import Extent, ExtentKind
from vbm.disk.reader import Buffer
from vbm.errors import DamagedError, InputError
from vbm.ids import ZERO_CHUNK, ChunkId
from vbm.objectstore.base import ObjectMissingError, ObjectStore
from vbm.repository.disk_map import ID_BYTES, SEGMENT_IDS, DiskMap
from vbm.repository.envelope import Envelope
from vbm.repository.format import pack_key
from vbm.repository.index import ChunkIndex
from vbm.repository.pack import Place, open_chunk

_CACHED_CHUNKS: Final = 8


class ChunkMissingError(DamagedError):
    """No pack has the chunk, though something refers to it."""

    code = "chunk-missing"


class ChunkReader:
    """Any chunk by its id. Thread-safe. Where a chunk lies in several places, a good one is found.

    ``refresh`` answers an index that knows what came since: a pack that a garbage collection rewrote is found again
    by whoever has been reading for days.
    """

    def __init__(
        self,
        store: ObjectStore,
        envelope: Envelope,
        index: ChunkIndex,
        refresh: Callable[[], ChunkIndex] | None = None,
    ) -> None:
        self._store = store
        self._envelope = envelope
        self._index = index
        self._refresh = refresh

    def read(self, chunk: ChunkId) -> bytes:
        """Bytes whose id was checked. Raises ChunkMissingError, FormatError."""
        try:
            return self._read_known(chunk)
        except ChunkMissingError:
            if self._refresh is None:
                raise
            self._index = self._refresh()
        return self._read_known(chunk)

    def _read_known(self, chunk: ChunkId) -> bytes:
        error: Exception | None = None
        for place in self._index.places(chunk):
            try:
                return self._read(chunk, place)
            except (DamagedError, ObjectMissingError) as failed:
                error = failed
        if isinstance(error, DamagedError):
            raise error
        raise ChunkMissingError(
            f"chunk {chunk.hex()[:16]} is in no pack of the repository",
            hint="run: vbm repository check, to see which restore points need it",
        ) from error

    def _read(self, chunk: ChunkId, place: Place) -> bytes:
        stored = self._store.get_range(pack_key(place.pack), place.offset, place.length)
        return open_chunk(self._envelope, chunk, place, stored)


class StoredDisk:
    """A restore point's disk as a ``DiskReader``: random access, every byte checked. Thread-safe."""

    random_read = True

    def __init__(self, disk_map: DiskMap, chunks: ChunkReader) -> None:
        self.capacity_bytes = disk_map.capacity_bytes
        self.chunk_size_bytes = disk_map.chunk_size_bytes
        self._map = disk_map
        self._chunks = chunks
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def extents(self) -> Iterator[Extent]:
        """DATA where a chunk is stored, ZERO elsewhere; ascending, merged, covering the disk. Bounded memory."""
        start, kind = 0, ExtentKind.ZERO
        for first, zero in self._runs():
            now = ExtentKind.ZERO if zero else ExtentKind.DATA
            at = first * self.chunk_size_bytes
            if now is not kind:
                if at > start:
                    yield Extent(start, at - start, kind)
                start, kind = at, now
        yield Extent(start, self.capacity_bytes - start, kind)

    def _runs(self) -> Iterator[tuple[int, bool]]:
        """First chunk of each run of equal kind (kinds may repeat over segments)."""
        for number in range(self._map.segments):
            first = number * SEGMENT_IDS
            if self._map.is_zero_segment(number):
                yield first, True
                continue
            ids = self._map.segment(number)
            for at in range(min(SEGMENT_IDS, self._map.count - first)):
                yield first + at, ids[at * ID_BYTES : (at + 1) * ID_BYTES] == ZERO_CHUNK

    def readinto(self, offset: int, buffer: Buffer) -> None:
        """Raises InputError outside of the disk, DamagedError where a chunk is not what it was."""
        view = memoryview(buffer)
        if offset < 0 or offset + len(view) > self.capacity_bytes:
            raise InputError(f"bytes {offset} to {offset + len(view)} lie outside of the disk")
        while view:
            index, skip = divmod(offset, self.chunk_size_bytes)
            length = min(len(view), self.chunk_size_bytes - skip)
            data = self._chunk(index)
            view[:length] = data[skip : skip + length] if data else bytes(length)
            view, offset = view[length:], offset + length

    def _chunk(self, index: int) -> bytes:
        """One chunk's bytes; empty for zeros."""
        with self._lock:
            if index in self._cache:
                self._cache.move_to_end(index)
                return self._cache[index]
        chunk = self._map.id(index)
        data = b"" if chunk == ZERO_CHUNK else self._checked(index, self._chunks.read(chunk))
        with self._lock:
            self._cache[index] = data
            if len(self._cache) > _CACHED_CHUNKS:
                self._cache.popitem(last=False)
        return data

    def _checked(self, index: int, data: bytes) -> bytes:
        wanted = min(self.chunk_size_bytes, self.capacity_bytes - index * self.chunk_size_bytes)
        if len(data) != wanted:
            raise DamagedError(f"chunk {index} of {self._map.key} has {len(data)} bytes, not {wanted}")
        return data

    def close(self) -> None:
        with self._lock:
            self._cache.clear()
