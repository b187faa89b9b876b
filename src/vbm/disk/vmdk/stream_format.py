"""The bytes of a streamOptimized VMDK: what its writer and its reader agree on.

::

    0            header: "KDMV", version 3, …, the tables' place or AT_END
    1 … 127      descriptor
    128 …        for each grain that is not all zeros, ascending: u64 sector, u32 length, zlib stream
                 after the grains of each 32 MiB: marker GT, their table (512 × u32: sector in this file, 0 = zeros)
                 marker GD, the directory (u32 sector of each table)
                 marker footer, the header again with the directory's true place
                 marker end of stream: 512 zero bytes

Everything begins at a whole sector of 512 bytes and is little-endian. A marker is u64 sectors that follow,
u32 zero, u32 type. Source: VMware's *Virtual Disk Format* note, and what vSphere and qemu write.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from vbm.disk.vmdk.errors import VmdkDamagedError, VmdkUnsupportedError, checked_capacity
from vbm.units import KIB, SECTOR

MAGIC: Final = b"KDMV"
GRAIN_BYTES: Final = 64 * KIB
GRAIN_SECTORS: Final = GRAIN_BYTES // SECTOR
TABLE_GRAINS: Final = 512
TABLE_BYTES: Final = TABLE_GRAINS * 4
AT_END: Final = 0xFFFFFFFFFFFFFFFF
OVERHEAD_SECTORS: Final = 128
DESCRIPTOR_SECTORS: Final = 20

_HEADER: Final = struct.Struct("<4sIIQQQQIQQQB4sH")
_MARKER: Final = struct.Struct("<QII")
_GRAIN: Final = struct.Struct("<QI")
GRAIN_HEADER_BYTES: Final = _GRAIN.size
_NEWLINES: Final = b"\n \r\n"
_FLAG_COMPRESSED: Final = 1 << 16
_FLAG_MARKERS: Final = 1 << 17
_FLAGS: Final = 1 | _FLAG_COMPRESSED | _FLAG_MARKERS


class Marker(IntEnum):
    END = 0
    TABLE = 1
    DIRECTORY = 2
    FOOTER = 3
    PROGRESS = 4


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """Header or footer; numbers in sectors unless named otherwise."""

    capacity_bytes: int
    directory: int  # AT_END: the footer knows
    grain_sectors: int = GRAIN_SECTORS
    table_grains: int = TABLE_GRAINS
    overhead: int = OVERHEAD_SECTORS
    descriptor: int = 1
    descriptor_sectors: int = DESCRIPTOR_SECTORS

    @property
    def grain_bytes(self) -> int:
        return self.grain_sectors * SECTOR

    @classmethod
    def parse(cls, data: bytes) -> StreamHeader:
        """Raises VmdkUnsupportedError where it is no streamOptimized VMDK, VmdkDamagedError for nonsense."""
        fields = _HEADER.unpack_from(data)
        magic, version, flags, capacity, grain, descriptor, descriptor_size, per_table = fields[:8]
        _redundant, directory, overhead, _dirty, newlines, compression = fields[8:]
        wanted = _FLAG_COMPRESSED | _FLAG_MARKERS
        if magic != MAGIC or version not in {1, 2, 3} or flags & wanted != wanted or compression != 1:
            raise VmdkUnsupportedError("not a streamOptimized VMDK")
        if flags & 1 and newlines != _NEWLINES:
            raise VmdkDamagedError("a streamOptimized VMDK that was transferred as text")
        if grain not in {8, 16, 32, 64, 128, 256, 512, 1024, 2048} or not 0 < per_table <= 4096:
            raise VmdkDamagedError(
                f"a streamOptimized VMDK with grains of {grain} sectors, {per_table} a table"
            )
        if overhead < 1 or overhead > 1 << 40:
            raise VmdkDamagedError(f"a streamOptimized VMDK whose data begin at sector {overhead}")
        size = checked_capacity(capacity, "a streamOptimized VMDK")
        return cls(size, directory, grain, per_table, overhead, descriptor, descriptor_size)

    def pack(self) -> bytes:
        return _HEADER.pack(
            MAGIC,
            3,
            _FLAGS,
            self.capacity_bytes // SECTOR,
            self.grain_sectors,
            self.descriptor,
            self.descriptor_sectors,
            self.table_grains,
            0,
            self.directory,
            self.overhead,
            0,
            _NEWLINES,
            1,
        ).ljust(SECTOR, b"\0")


def pack_marker(kind: Marker, sectors: int) -> bytes:
    return _MARKER.pack(sectors, 0, kind).ljust(SECTOR, b"\0")


def parse_marker(data: bytes) -> tuple[int, int, int]:
    """First number, length, type. A length above zero makes it a grain, whose data begin at byte 12."""
    value, length, kind = _MARKER.unpack_from(data)
    return value, length, kind


def pack_grain(sector: int, compressed: bytes) -> bytes:
    size = GRAIN_HEADER_BYTES + len(compressed)
    return b"".join((_GRAIN.pack(sector, len(compressed)), compressed, bytes(-size % SECTOR)))


def padded(data: bytes) -> bytes:
    """The data with zeros up to a whole sector."""
    return data + bytes(-len(data) % SECTOR)
