"""The copier with a disk and a sink in memory: what is read, in which order, at what pace."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from vbm.cancel import CancelToken
from vbm.clock import VirtualClock
from vbm.disk.extents import Extent
from vbm.disk.reader import Buffer
from vbm.engine.copier import Copier, CopyStats, CopyTask, Pace, buffer_bytes
from vbm.engine.geometry import Geometry
from vbm.engine.planner import PlanRequest, plan
from vbm.engine.rate_limit import RateLimit
from vbm.errors import CancelledError, DamagedError
from vbm.ids import ZERO_CHUNK, ChunkId, DiskKey
from vbm.progress import Silent

KIB, MIB = 1024, 1024**2
CHUNK = 256 * KIB


@dataclass
class MemoryDisk:
    content: bytes
    random_read: bool = True
    reads: list[tuple[int, int]] = field(default_factory=list)

    @property
    def capacity_bytes(self) -> int:
        return len(self.content)

    def extents(self) -> Iterable[Extent]:
        return [Extent(0, len(self.content))]

    def readinto(self, offset: int, buffer: Buffer) -> None:
        self.reads.append((offset, len(buffer)))
        buffer[:] = self.content[offset : offset + len(buffer)]

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Put:
    id: ChunkId
    is_new: bool
    stored_bytes: int


class MemorySink:
    def __init__(self) -> None:
        self.chunks: dict[ChunkId, bytes] = {}
        self._lock = threading.Lock()

    def put_chunk(self, data: memoryview) -> Put:
        held = bytes(data)
        if not any(held):
            return Put(ZERO_CHUNK, False, 0)
        chunk = ChunkId(hashlib.sha256(held).digest())
        with self._lock:
            is_new = chunk not in self.chunks
            self.chunks[chunk] = held
        return Put(chunk, is_new, len(held) if is_new else 0)


class MemoryMap(dict[int, ChunkId]):
    def set(self, index: int, chunk_id: ChunkId) -> None:
        assert index not in self
        self[index] = chunk_id


@dataclass
class MemoryBase:
    sink: MemorySink
    ids: dict[int, ChunkId]

    def id(self, index: int) -> ChunkId:
        return self.ids.get(index, ZERO_CHUNK)

    def read(self, chunk_id: ChunkId) -> bytes:
        if chunk_id not in self.sink.chunks:
            raise DamagedError("lost")
        return self.sink.chunks[chunk_id]


def _pattern(size: int, seed: int = 1) -> bytes:
    block = b"".join(hashlib.sha256(bytes([seed, i % 256, i // 256])).digest() for i in range(2048))
    return (block * (size // len(block) + 1))[:size]


def _copier(sink: MemorySink, *, limit: RateLimit | None = None, cancel: CancelToken | None = None) -> Copier:
    pace = Pace(limit or RateLimit(0, VirtualClock()))
    return Copier(sink, pace, Silent(), cancel or CancelToken())


def _task(
    disk: MemoryDisk, target: MemoryMap, areas: list[Extent], base: MemoryBase | None = None
) -> CopyTask:
    request = PlanRequest(
        Geometry(disk.capacity_bytes, CHUNK),
        tuple(areas),
        from_base=base is not None,
        random_read=disk.random_read,
        buffer_bytes=2 * CHUNK,
    )
    return CopyTask(DiskKey(2000), disk, plan(request), target, base)


def _content(target: MemoryMap, sink: MemorySink, size: int, base: MemoryBase | None = None) -> bytes:
    parts = []
    for index in range(-(-size // CHUNK)):
        chunk = target.get(index, base.id(index) if base else ZERO_CHUNK)
        length = min(CHUNK, size - index * CHUNK)
        parts.append(bytes(length) if chunk == ZERO_CHUNK else sink.chunks[chunk])
    return b"".join(parts)


def _full(content: bytes, *, random_read: bool = True) -> tuple[MemoryMap, MemorySink, CopyStats, MemoryDisk]:
    disk, sink, target = MemoryDisk(content, random_read), MemorySink(), MemoryMap()
    stats = _copier(sink).copy(_task(disk, target, [Extent(0, len(content))]))
    return target, sink, stats, disk


@pytest.mark.parametrize("random_read", [True, False])
def test_a_full_read_stores_every_chunk_once(random_read: bool) -> None:
    content = _pattern(5 * CHUNK + 512)
    target, sink, stats, disk = _full(content, random_read=random_read)
    assert _content(target, sink, len(content)) == content
    assert stats.bytes_read == len(content)
    assert stats.chunks_done == 6
    assert sum(length for _, length in disk.reads) == len(content)


def test_a_stream_is_read_in_order() -> None:
    _, _, _, disk = _full(_pattern(40 * CHUNK), random_read=False)
    assert disk.reads == sorted(disk.reads)


def test_chunks_of_zeros_are_counted_and_not_stored() -> None:
    content = bytes(3 * CHUNK) + _pattern(CHUNK)
    target, sink, stats, _ = _full(content)
    assert stats.bytes_zero == 3 * CHUNK
    assert len(sink.chunks) == 1
    assert _content(target, sink, len(content)) == content


def test_a_patch_reads_only_what_changed() -> None:
    old = _pattern(4 * CHUNK)
    target, sink, _, _ = _full(old)
    base = MemoryBase(sink, dict(target))
    new = bytearray(old)
    changed = Extent(CHUNK - 64 * KIB, 128 * KIB)
    new[changed.start : changed.end] = _pattern(changed.length, 9)
    disk, second = MemoryDisk(bytes(new)), MemoryMap()
    stats = _copier(sink).copy(_task(disk, second, [changed], base))
    assert disk.reads == [(changed.start, changed.length)]
    assert stats.bytes_read == changed.length
    assert sorted(second) == [0, 1]
    assert _content(second, sink, len(new), base) == bytes(new)


def test_a_patch_of_a_chunk_that_the_repository_lost_reads_it_whole() -> None:
    old = _pattern(2 * CHUNK)
    target, sink, _, _ = _full(old)
    base = MemoryBase(sink, dict(target))
    del sink.chunks[target[1]]
    disk, second = MemoryDisk(old), MemoryMap()
    stats = _copier(sink).copy(_task(disk, second, [Extent(CHUNK, 64 * KIB)], base))
    assert stats.chunks_healed == 1
    assert _content(second, sink, len(old), base) == old


def test_a_patch_on_zeros_needs_no_repository() -> None:
    base = MemoryBase(MemorySink(), {})
    content = bytes(64 * KIB) + _pattern(64 * KIB) + bytes(2 * CHUNK - 128 * KIB)
    disk, sink, target = MemoryDisk(content), MemorySink(), MemoryMap()
    _copier(sink).copy(_task(disk, target, [Extent(64 * KIB, 64 * KIB)], base))
    assert _content(target, sink, len(content)) == content


def test_the_rate_limit_holds_and_passes_the_first_second_at_once() -> None:
    clock = VirtualClock()
    content = _pattern(16 * CHUNK)
    disk, target = MemoryDisk(content), MemoryMap()
    pace = Pace(RateLimit(CHUNK, clock), workers=1)
    Copier(MemorySink(), pace, Silent(), CancelToken()).copy(_task(disk, target, [Extent(0, len(content))]))
    # 16 seconds' worth, of which the first second's and the last range's are not waited for.
    assert clock.monotonic() == pytest.approx(16 - 2 - 1, abs=0.5)


def test_waiting_for_the_rate_ends_when_cancelled() -> None:
    cancel = CancelToken()

    class Cancelling(VirtualClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            cancel.cancel("enough")

    disk = MemoryDisk(_pattern(64 * CHUNK))
    limit = RateLimit(CHUNK, Cancelling())
    with pytest.raises(CancelledError):
        _copier(MemorySink(), limit=limit, cancel=cancel).copy(
            _task(disk, MemoryMap(), [Extent(0, disk.capacity_bytes)])
        )


def test_an_empty_plan_reads_nothing() -> None:
    disk = MemoryDisk(_pattern(CHUNK))
    stats = _copier(MemorySink()).copy(_task(disk, MemoryMap(), []))
    assert stats == CopyStats()
    assert disk.reads == []


def test_buffers_stay_within_the_memory_for_all_workers() -> None:
    assert buffer_bytes(64 * MIB, MIB, workers=4) == 8 * MIB
    assert buffer_bytes(1 * MIB, 4 * MIB) == 4 * MIB
    assert buffer_bytes(5 * MIB, 2 * MIB) == 4 * MIB
