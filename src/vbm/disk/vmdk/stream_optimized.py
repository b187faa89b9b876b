"""Writing of streamOptimized VMDKs, as NFC imports and OVAs want them: one pass, no seeking."""

from __future__ import annotations

import sys
import zlib
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from vbm.disk.raw import Data, check_range, is_zero
from vbm.disk.vmdk.descriptor import NO_PARENT, Descriptor, ExtentLine, disk_database, new_cid
from vbm.disk.vmdk.errors import VmdkUnsupportedError, whole_sectors
from vbm.disk.vmdk.stream_format import (
    AT_END,
    DESCRIPTOR_SECTORS,
    GRAIN_BYTES,
    GRAIN_SECTORS,
    OVERHEAD_SECTORS,
    TABLE_BYTES,
    TABLE_GRAINS,
    Marker,
    StreamHeader,
    pack_grain,
    pack_marker,
    padded,
)
from vbm.errors import InputError
from vbm.units import SECTOR

_BATCH_GRAINS: Final = 16  # compressed by one task: 1 MiB
_AHEAD: Final = 4  # batches in flight for each thread

Sink = Callable[[bytes], object]
Grain = tuple[int, bytes]  # index and content


class StreamOptimizedWriter:
    """Writes one disk in ascending order; what is skipped, and grains of zeros, take no room.

    Give ``threads`` to compress beside the caller (zlib lets go of the interpreter lock); the order stays. The
    sink is called in the thread that writes. Not thread-safe. Without ``close`` the stream is invalid.
    """

    def __init__(
        self,
        sink: Sink,
        capacity_bytes: int,
        disk_name: str = "disk.vmdk",
        *,
        level: int = 1,
        threads: int = 0,
    ) -> None:
        whole_sectors(capacity_bytes)
        self.capacity_bytes = capacity_bytes
        self._sink = sink
        self._level = level
        self._position = 0  # sectors sent
        self._next = 0  # bytes of the disk taken
        self._partial = bytearray()  # of the grain in which _next lies, from its start
        self._batch: list[Grain] = []
        self._table = array("I", bytes(TABLE_BYTES))
        self._table_index = 0
        self._directory = array("I")
        self._closed = False
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "deflate") if threads else None
        self._in_flight: deque[Future[list[Grain]]] = deque()
        self._send(StreamHeader(capacity_bytes, AT_END).pack())
        self._send(_descriptor_area(capacity_bytes, disk_name))

    def write(self, offset: int, data: Data) -> None:
        """Raises InputError where it goes backwards or beyond the capacity."""
        check_range(offset, len(data), self.capacity_bytes)
        if self._closed or offset < self._next:
            raise InputError(f"a stream at {self._next} can't go back to {offset}")
        if not len(data):
            return
        self._skip_to(offset)
        view = memoryview(data).cast("B")
        if self._partial:
            taken = min(GRAIN_BYTES - len(self._partial), len(view))
            self._partial += view[:taken]
            view = view[taken:]
            self._next += taken
            self._end_partial(full_only=True)
        for start in range(0, len(view) - len(view) % GRAIN_BYTES, GRAIN_BYTES):
            self._take(self._next // GRAIN_BYTES, bytes(view[start : start + GRAIN_BYTES]))
            self._next += GRAIN_BYTES
        rest = view[len(view) - len(view) % GRAIN_BYTES :]
        self._partial += rest
        self._next += len(rest)

    def close(self) -> None:
        """Sends what is left, the directory and the end of the stream. May be called twice."""
        if self._closed:
            return
        self._skip_to(self.capacity_bytes)
        self._end_partial(full_only=False)
        self._submit()
        self._drain(0)
        self._end_table()
        self._end_stream()
        self._closed = True
        self._stop()

    def discard(self) -> None:
        """Give up: stops the threads, sends nothing more."""
        self._closed = True
        self._stop()

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _skip_to(self, offset: int) -> None:
        if offset // GRAIN_BYTES != self._next // GRAIN_BYTES:
            self._end_partial(full_only=False)
            self._next = offset // GRAIN_BYTES * GRAIN_BYTES
        self._partial += bytes(offset - self._next)
        self._next = offset

    def _end_partial(self, *, full_only: bool) -> None:
        """Hands on the grain that was gathered; its unwritten rest is zeros, cut at the disk's end."""
        if not self._partial or (full_only and len(self._partial) < GRAIN_BYTES):
            return
        index = (self._next - 1) // GRAIN_BYTES
        size = min(GRAIN_BYTES, self.capacity_bytes - index * GRAIN_BYTES)
        self._take(index, bytes(self._partial.ljust(size, b"\0")))
        self._partial = bytearray()

    def _take(self, index: int, grain: bytes) -> None:
        if is_zero(grain):
            return
        self._batch.append((index, grain))
        if len(self._batch) == _BATCH_GRAINS:
            self._submit()

    def _submit(self) -> None:
        batch, self._batch = self._batch, []
        if self._pool is None:
            self._emit(self._compress(batch))
            return
        self._in_flight.append(self._pool.submit(self._compress, batch))
        self._drain(_AHEAD * self._threads)

    def _compress(self, batch: list[Grain]) -> list[Grain]:
        return [
            (index, pack_grain(index * GRAIN_SECTORS, zlib.compress(grain, self._level)))
            for index, grain in batch
        ]

    def _drain(self, most: int) -> None:
        while len(self._in_flight) > most:
            self._emit(self._in_flight.popleft().result())

    def _emit(self, grains: list[Grain]) -> None:
        for index, packed in grains:
            if index // TABLE_GRAINS != self._table_index:
                self._end_table()
                self._table_index = index // TABLE_GRAINS
            self._table[index % TABLE_GRAINS] = self._position
            self._send(packed)

    def _end_table(self) -> None:
        if not any(self._table):
            return
        self._send(pack_marker(Marker.TABLE, TABLE_BYTES // SECTOR))
        self._directory.extend([0] * (self._table_index - len(self._directory)))
        self._directory.append(self._position)
        self._send(_little(self._table))
        self._table = array("I", bytes(TABLE_BYTES))

    def _end_stream(self) -> None:
        tables = -(-self.capacity_bytes // (GRAIN_BYTES * TABLE_GRAINS))
        self._directory.extend([0] * (tables - len(self._directory)))
        directory = padded(_little(self._directory))
        self._send(pack_marker(Marker.DIRECTORY, len(directory) // SECTOR))
        place = self._position
        self._send(directory)
        self._send(pack_marker(Marker.FOOTER, 1))
        self._send(StreamHeader(self.capacity_bytes, place).pack())
        self._send(pack_marker(Marker.END, 0))

    def _send(self, data: bytes) -> None:
        self._sink(data)
        self._position += len(data) // SECTOR
        if self._position > 0xFFFFFFFF:
            raise VmdkUnsupportedError("a streamOptimized VMDK can't have more than 2 TiB after compression")


def encode(
    pieces: Iterable[tuple[int, Data]],
    capacity_bytes: int,
    disk_name: str = "disk.vmdk",
    *,
    level: int = 1,
    threads: int = 0,
) -> Iterator[bytes]:
    """The stream of a disk given as ascending (offset, bytes); each part is some 64 KiB to 1 MiB and more."""
    parts: list[bytes] = []
    writer = StreamOptimizedWriter(parts.append, capacity_bytes, disk_name, level=level, threads=threads)
    try:
        for offset, data in pieces:
            writer.write(offset, data)
            if parts:
                yield b"".join(parts)
                parts.clear()
        writer.close()
        yield b"".join(parts)
    finally:
        writer.discard()


def _descriptor_area(capacity_bytes: int, disk_name: str) -> bytes:
    sectors = capacity_bytes // SECTOR
    text = Descriptor(
        cid=new_cid(),
        parent_cid=NO_PARENT,
        create_type="streamOptimized",
        extents=(ExtentLine("RW", sectors, "SPARSE", disk_name),),
        ddb=disk_database(sectors),
    ).render()
    data = text.encode()
    if len(data) > DESCRIPTOR_SECTORS * SECTOR:
        raise VmdkUnsupportedError(f"a disk name of {len(disk_name)} characters is too long")
    return data.ljust((OVERHEAD_SECTORS - 1) * SECTOR, b"\0")


def _little(numbers: array[int]) -> bytes:
    """The u32 numbers as the file has them, on machines of either byte order."""
    if sys.byteorder == "big":
        numbers = array("I", numbers)
        numbers.byteswap()
    return numbers.tobytes()
