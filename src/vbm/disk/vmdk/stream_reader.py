"""Reading of a streamOptimized VMDK while it arrives, with every check that its redundancy allows.

A stream that was cut is never taken for a whole one: without its end marker and footer, or, where its tables
came first, without every grain they name, it raises.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from vbm.disk.extents import Extent
from vbm.disk.raw import check_range
from vbm.disk.reader import Buffer
from vbm.disk.vmdk.descriptor import Descriptor
from vbm.disk.vmdk.errors import MAX_DESCRIPTOR_BYTES, VmdkDamagedError
from vbm.disk.vmdk.stream_format import AT_END, GRAIN_HEADER_BYTES, Marker, StreamHeader, parse_marker
from vbm.errors import InputError
from vbm.units import MIB, SECTOR

_READ_BYTES: Final = 1 * MIB


class StreamCutShortError(VmdkDamagedError):
    """A streamOptimized VMDK ended before its end."""

    code = "stream-cut-short"


class StreamOptimizedReader:
    """A disk that arrives in one stream: a DiskReader without random reads, and an iterator of grains.

    ``read(n)`` answers 1 to n bytes, b"" at the end. Memory: one read and one grain. ``readinto`` up to the
    capacity, and ``grains`` run to its end, have checked the whole stream; after less, ``finish`` does.
    """

    random_read = False

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._stream = _Stream(read)
        self.header = StreamHeader.parse(self._stream.take(SECTOR))
        self.capacity_bytes = self.header.capacity_bytes
        self.descriptor: Descriptor | None = None
        self._front = self._read_front()
        self._at_end = self.header.directory == AT_END
        self._grains_seen = 0
        self._footer: StreamHeader | None = None
        self._window: set[int] = set()  # sectors of this stream at which grains began, since the last table
        self._grains = self._decode()
        self._current: tuple[int, bytes] | None = None
        self._reached = 0
        self._finished = False

    def grains(self) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) ascending; what lies between is zeros. Don't mix with ``readinto``."""
        return self._grains

    def extents(self) -> Iterator[Extent]:
        yield Extent(0, self.capacity_bytes)

    def readinto(self, offset: int, buffer: Buffer) -> None:
        """Raises InputError where it goes backwards."""
        check_range(offset, len(buffer), self.capacity_bytes)
        if offset < self._reached:
            raise InputError(f"a stream at {self._reached} can't go back to {offset}")
        view = memoryview(buffer)
        end = offset + len(view)
        view[:] = bytes(len(view))
        while (grain := self._peek()) is not None and grain[0] < end:
            start, data = grain
            low, high = max(offset, start), min(end, start + len(data))
            if low < high:
                view[low - offset : high - offset] = data[low - start : high - start]
            if start + len(data) > end:
                break
            self._current = None
        self._reached = end
        if end == self.capacity_bytes:
            self.finish()

    def finish(self) -> None:
        """Reads on to the end of the stream and checks it. May be called twice."""
        while not self._finished:
            self._current = None
            self._peek()

    def close(self) -> None:
        """Nothing is held: whoever gave ``read`` closes what is behind it."""

    def _peek(self) -> tuple[int, bytes] | None:
        if self._current is None:
            self._current = next(self._grains, None)
        return self._current

    def _decode(self) -> Iterator[tuple[int, bytes]]:
        last = -1
        while True:
            place = self._stream.position // SECTOR
            head = self._stream.take_or_end(SECTOR)
            if head is None:
                break
            value, length, kind = parse_marker(head)
            if length:
                if value <= last:
                    raise VmdkDamagedError(f"grains out of order: sector {value} after {last}")
                last = value
                self._grains_seen += 1
                self._window.add(place)
                yield self._grain(value, length, head)
            elif kind == Marker.END and value == 0:
                self._check_end(ended=True)
                return
            else:
                self._metadata(kind, value)
        self._check_end(ended=False)

    def _grain(self, sector: int, length: int, head: bytes) -> tuple[int, bytes]:
        grain_bytes = self.header.grain_bytes
        offset = sector * SECTOR
        if sector % self.header.grain_sectors or offset >= self.capacity_bytes:
            raise VmdkDamagedError(f"a grain at sector {sector} of a disk of {self.capacity_bytes} bytes")
        if length > grain_bytes + grain_bytes // 8 + SECTOR:
            raise VmdkDamagedError(f"a grain of {grain_bytes} bytes compressed to {length}")
        more = max(0, GRAIN_HEADER_BYTES + length - SECTOR)
        body = head[GRAIN_HEADER_BYTES:] + self._stream.take(-(-more // SECTOR) * SECTOR)
        data = _inflate(body[:length], grain_bytes, sector)
        wanted = min(grain_bytes, self.capacity_bytes - offset)
        if len(data) not in {wanted, grain_bytes}:
            raise VmdkDamagedError(f"the grain at sector {sector} has {len(data)} bytes instead of {wanted}")
        return offset, data[:wanted]

    def _metadata(self, kind: int, sectors: int) -> None:
        if kind == Marker.TABLE:
            self._check_table(sectors)
        elif kind == Marker.FOOTER and sectors == 1:
            self._footer = StreamHeader.parse(self._stream.take(SECTOR))
        elif kind in {Marker.DIRECTORY, Marker.PROGRESS}:
            self._stream.skip(sectors * SECTOR)
        else:
            raise VmdkDamagedError(f"a marker of unknown type {kind} in a streamOptimized VMDK")

    def _check_table(self, sectors: int) -> None:
        """Each grain that a table names since the last one did must have come by."""
        if sectors * SECTOR != -(-self.header.table_grains * 4 // SECTOR) * SECTOR:
            raise VmdkDamagedError(f"a grain table of {sectors} sectors")
        entries = set(np.frombuffer(self._stream.take(sectors * SECTOR), "<u4").tolist())
        if self._window and (first := min(self._window)):
            missing = {entry for entry in entries if entry >= first} - self._window
            if missing:
                raise VmdkDamagedError(
                    f"a grain table names {len(missing)} grains that the stream did not carry"
                )
        self._window.clear()

    def _check_end(self, *, ended: bool) -> None:
        if self._at_end:
            if not ended or self._footer is None:
                raise StreamCutShortError("a streamOptimized VMDK ended without its footer and end marker")
            same = (self._footer.capacity_bytes, self._footer.grain_sectors)
            if same != (self.capacity_bytes, self.header.grain_sectors) or self._footer.directory == AT_END:
                raise VmdkDamagedError("a streamOptimized VMDK whose footer contradicts its header")
        elif self._front != self._grains_seen:
            raise StreamCutShortError(
                f"a streamOptimized VMDK ended after {self._grains_seen} of {self._front} grains"
            )
        self._finished = True

    def _read_front(self) -> int:
        """Reads the descriptor and tables before the grains; the number of grains that the tables name."""
        header = self.header
        end = header.overhead * SECTOR
        size = header.descriptor_sectors * SECTOR
        if header.descriptor and size and header.descriptor * SECTOR + size <= end:
            self._stream.skip_to(header.descriptor * SECTOR)
            if size <= MAX_DESCRIPTOR_BYTES:
                self.descriptor = Descriptor.parse(self._stream.take(size))
        if header.directory == AT_END or header.directory * SECTOR >= end:
            self._stream.skip_to(end)
            return 0
        span = header.grain_bytes * header.table_grains
        self._stream.skip_to(header.directory * SECTOR)
        self._stream.skip(-(-4 * -(-header.capacity_bytes // span) // SECTOR) * SECTOR)
        return self._stream.count_entries(end)


class _Stream:
    """Exact reads of a stream, at most 1 MiB ahead; whatever length is claimed, no more is held."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._buffer = b""
        self._at = 0
        self.position = 0

    def take(self, size: int) -> bytes:
        """Exactly that many bytes, at most some MiB. Raises StreamCutShortError."""
        data = self.take_or_end(size)
        if data is None:
            raise StreamCutShortError(f"a streamOptimized VMDK ended at byte {self.position}")
        return data

    def take_or_end(self, size: int) -> bytes | None:
        """As ``take``, but None where the stream ends right here."""
        parts: list[bytes] = []
        missing = size
        while missing:
            if self._at == len(self._buffer):
                self._buffer, self._at = self._read(_READ_BYTES), 0
                if not self._buffer:
                    break
            piece = self._buffer[self._at : self._at + missing]
            self._at += len(piece)
            missing -= len(piece)
            parts.append(piece)
        if missing and (parts or size == 0):
            raise StreamCutShortError(
                f"a streamOptimized VMDK ended at byte {self.position + size - missing}"
            )
        if missing:
            return None
        self.position += size
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def skip(self, size: int) -> None:
        while size > 0:
            size -= len(self.take(min(size, _READ_BYTES)))

    def skip_to(self, position: int) -> None:
        if position < self.position:
            raise VmdkDamagedError("a streamOptimized VMDK whose parts overlap")
        self.skip(position - self.position)

    def count_entries(self, end: int) -> int:
        """The table entries up to that position that name a grain."""
        found = 0
        while self.position < end:
            entries = np.frombuffer(self.take(min(end - self.position, _READ_BYTES)), "<u4")
            found += int(np.count_nonzero(entries > 1))
        return found


def _inflate(compressed: bytes, most: int, sector: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(compressed, most + 1)
    except (zlib.error, struct.error) as error:
        raise VmdkDamagedError(f"the grain at sector {sector} does not decompress: {error}") from error
    if len(data) > most or not inflater.eof:
        raise VmdkDamagedError(f"the grain at sector {sector} is not one whole grain of {most} bytes")
    return data
