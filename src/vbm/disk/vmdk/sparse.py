"""vmfsSparse extents ("COWD"): the delta files of VMFS5 and NFS datastores, for disks up to 2 TB.

::

    0     header, 2048 bytes: "COWD", version, flags, capacity, grain sectors, directory sector, entries, next free
    2048  directory: u32 sector of each table, 0 = none yet
    …     tables (4096 × u32: 0 = parent, 1 = zeros, else the grain's sector) among grains, as they were allocated

All numbers little-endian. A grain is one sector, so a table covers 2 MiB. Source: libvmdk's format note.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from vbm.disk.byte_source import ByteSource
from vbm.disk.vmdk.errors import (
    VmdkDamagedError,
    VmdkUnsupportedError,
    agreed_capacity,
    checked_capacity,
    whole_sectors,
)
from vbm.disk.vmdk.grain_writer import GrainWriter, Layout
from vbm.disk.vmdk.grains import (
    ABSENT,
    PARENT,
    ZERO,
    Grains,
    Mapped,
    MetadataCache,
    checked_apart,
    checked_places,
    map_grains,
)
from vbm.units import KIB, SECTOR

MAGIC: Final = b"COWD"
TABLE_GRAINS: Final = 4096
TABLE_BYTES: Final = TABLE_GRAINS * 4
HEADER_BYTES: Final = 2048
_HEADER: Final = struct.Struct("<4s7I")
_CACHE_BLOCK_BYTES: Final = 64 * KIB
_MAX_GRAIN_SECTORS: Final = 2048


@dataclass(frozen=True, slots=True)
class CowdHeader:
    """The fields that matter, in bytes."""

    capacity_bytes: int
    grain_bytes: int
    directory_offset: int
    tables: int

    @property
    def metadata_end(self) -> int:
        return self.directory_offset + self.tables * 4

    @classmethod
    def parse(cls, data: bytes, file_bytes: int) -> CowdHeader:
        """Raises VmdkUnsupportedError for another format or version, VmdkDamagedError for nonsense."""
        magic, version, _flags, capacity, grain, directory, tables, _free = _HEADER.unpack_from(data)
        if magic != MAGIC or version != 1:
            raise VmdkUnsupportedError("not a vmfsSparse extent of version 1")
        if not 0 < grain <= _MAX_GRAIN_SECTORS or grain & (grain - 1):
            raise VmdkDamagedError(f"a vmfsSparse extent with grains of {grain} sectors")
        header = cls(
            checked_capacity(capacity, "a vmfsSparse extent"), grain * SECTOR, directory * SECTOR, tables
        )
        if tables * TABLE_GRAINS * header.grain_bytes < header.capacity_bytes:
            raise VmdkDamagedError(f"{tables} grain tables do not cover {header.capacity_bytes} bytes")
        if header.directory_offset < HEADER_BYTES or header.metadata_end > file_bytes:
            raise VmdkDamagedError("a vmfsSparse extent whose directory is not inside the file")
        return header


def decode_table(raw: Grains) -> Grains:
    """Byte offsets of the sectors in a table; 0 and 1 are marks."""
    return np.where(raw > 1, raw * SECTOR, np.where(raw == 1, ZERO, PARENT))


class CowdReader:
    """A vmfsSparse extent: tables are read when asked for, in blocks of 64 KiB, at most 4 MiB kept. Thread-safe."""

    table_grains = TABLE_GRAINS

    def __init__(self, source: ByteSource, capacity_bytes: int | None = None) -> None:
        self.source = source
        if source.size_bytes < HEADER_BYTES:
            raise VmdkDamagedError(
                f"a vmfsSparse extent of {source.size_bytes} bytes has no room for its header"
            )
        self._header = CowdHeader.parse(source.read_at(0, HEADER_BYTES), source.size_bytes)
        self.grain_bytes = self._header.grain_bytes
        self.capacity_bytes = agreed_capacity(self._header.capacity_bytes, capacity_bytes)
        self._cache = MetadataCache(source, _CACHE_BLOCK_BYTES)

    def map(self, start: int, length: int) -> list[Mapped]:
        return map_grains(self, start, length)

    def directory(self, first: int, count: int) -> Grains:
        raw = self._cache.array(self._header.directory_offset + first * 4, count, "<u4").astype(np.int64)
        places = np.where(raw == 0, ABSENT, raw * SECTOR)
        return self._checked(places, TABLE_BYTES, "a grain table")

    def table(self, offset: int, first: int, count: int) -> Grains:
        raw = self._cache.array(offset + first * 4, count, "<u4").astype(np.int64)
        places = self._checked(decode_table(raw), self.grain_bytes, "a grain")
        return checked_apart(places, self.grain_bytes, offset, offset + TABLE_BYTES)

    def _checked(self, places: Grains, size: int, what: str) -> Grains:
        return checked_places(places, size, self._header.metadata_end, self.source.size_bytes, what)


def _encode(grains: Grains) -> bytes:
    marks = np.where(grains == ZERO, 1, 0)
    return np.where(grains >= 0, grains // SECTOR, marks).astype("<u4").tobytes()


class CowdWriter(GrainWriter):
    """A vmfsSparse extent that can be written at random; see ``GrainWriter``."""

    def _layout(self, capacity_bytes: int) -> tuple[Layout, dict[int, bytes]]:
        sectors = whole_sectors(capacity_bytes)
        if sectors > 0xFFFFFFFF:
            raise VmdkUnsupportedError("a vmfsSparse extent can't have more than 2 TiB")
        tables = -(-sectors // TABLE_GRAINS)
        end = -(-(HEADER_BYTES + tables * 4) // SECTOR)
        header = _HEADER.pack(MAGIC, 1, 3, sectors, 1, HEADER_BYTES // SECTOR, tables, end)
        # Cylinders, heads, sectors; the rest is names and counters that readers ignore.
        return self._layout_of(CowdHeader(capacity_bytes, SECTOR, HEADER_BYTES, tables)), {0: header}

    def _parse(self, data: bytes, file_bytes: int) -> Layout:
        return self._layout_of(CowdHeader.parse(data, file_bytes))

    @staticmethod
    def _layout_of(header: CowdHeader) -> Layout:
        start = -(-header.metadata_end // SECTOR) * SECTOR
        return Layout(
            header.capacity_bytes,
            header.grain_bytes,
            TABLE_GRAINS,
            4,
            start,
            header.directory_offset,
            header.tables,
        )

    def _new_table(self, index: int) -> tuple[int, bytes]:  # noqa: ARG002 - as they come
        offset = self._allocate(TABLE_BYTES)
        return offset, (offset // SECTOR).to_bytes(4, "little")

    def _decode_directory(self, raw: bytes) -> Grains:
        sectors = np.frombuffer(raw, "<u4").astype(np.int64)
        return np.where(sectors == 0, ABSENT, sectors * SECTOR)

    def _decode_table(self, raw: bytes) -> Grains:
        return decode_table(np.frombuffer(raw, "<u4").astype(np.int64))

    def _encode_table(self, grains: Grains) -> bytes:
        return _encode(grains)
