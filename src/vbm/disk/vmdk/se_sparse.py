"""SEsparse extents: the delta files of VMFS6, and of disks beyond 2 TB everywhere.

::

    sector 0     constant header: 26 × u64 (magic, version, capacity, grain, table, flags, 4 × 0, 8 regions)
    sector 1     volatile header; field 3 is not zero while a journal waits to be replayed
    sector 2048  journal, then directory, tables, free bitmap, back map, grains: each a region of its own

All numbers are little-endian and, but for the entries, count sectors. Directory entry: top 32 bits
0x10000000, low 32 bits the table's index. Table entry: top nibble 0 parent, 1 unmapped and 2 zero (both
read as zeros), 3 a grain with index ``(e >> 48 & 0xfff) | (e & 0xffffffffffff) << 12``. A grain is 4 KiB,
so a table of 4096 covers 16 MiB. Source: the observations behind qemu's reader.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vbm.disk.byte_source import ByteSource
from vbm.disk.vmdk.errors import (
    VmdkDamagedError,
    VmdkDirtyError,
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
    checked_places,
    map_grains,
)
from vbm.units import KIB, SECTOR

MAGIC: Final = 0xCAFEBABE
VOLATILE_MAGIC: Final = 0xCAFECAFE
VERSION: Final = 0x200000001
TABLE_SECTORS: Final = 64
TABLE_BYTES: Final = TABLE_SECTORS * SECTOR
TABLE_GRAINS: Final = TABLE_BYTES // 8
GRAIN_SECTORS: Final = 8
_HEADER: Final = struct.Struct("<26Q")
_VOLATILE: Final = struct.Struct("<4Q")
_ALIGN_SECTORS: Final = 2048  # regions begin at whole MiB
_CACHE_BLOCK_BYTES: Final = 512 * KIB  # 16 tables: a quarter GiB of the disk in one request
_PRESENT: Final = 0x10000000
_LOW_48: Final = np.uint64(0x0000FFFFFFFFFFFF)


@dataclass(frozen=True, slots=True)
class SeSparseHeader:
    """The fields that matter, in bytes."""

    capacity_bytes: int
    grain_bytes: int
    volatile_offset: int
    directory_offset: int
    directory_bytes: int
    tables_offset: int
    tables_bytes: int
    grains_offset: int

    @classmethod
    def parse(cls, data: bytes, file_bytes: int) -> SeSparseHeader:
        """Raises VmdkUnsupportedError for another format or version, VmdkDamagedError for nonsense."""
        fields = _HEADER.unpack_from(data)
        magic, version, capacity, grain, table, flags = fields[:6]
        if magic != MAGIC or version != VERSION or flags:
            raise VmdkUnsupportedError("not an SEsparse extent of version 2.1 without flags")
        if table != TABLE_SECTORS or grain not in {8, 16, 32, 64, 128}:
            raise VmdkUnsupportedError(
                f"an SEsparse extent with grains of {grain} and tables of {table} sectors"
            )
        if any(field > file_bytes // SECTOR for field in fields[10:26:2]):
            raise VmdkDamagedError("an SEsparse extent with a region outside the file")
        region = [field * SECTOR for field in fields[10:26]]
        header = cls(
            capacity_bytes=checked_capacity(capacity, "an SEsparse extent"),
            grain_bytes=grain * SECTOR,
            volatile_offset=region[0],
            directory_offset=region[6],
            directory_bytes=region[7],
            tables_offset=region[8],
            tables_bytes=region[9],
            grains_offset=region[14],
        )
        tables = -(-header.capacity_bytes // (TABLE_GRAINS * header.grain_bytes))
        if header.directory_bytes < tables * 8 or header.directory_offset + tables * 8 > file_bytes:
            raise VmdkDamagedError(f"a grain directory that does not cover {header.capacity_bytes} bytes")
        return header

    def check_clean(self, data: bytes) -> None:
        """Raises VmdkDirtyError where the volatile header says that a journal waits."""
        magic, _free, _next, replay = _VOLATILE.unpack_from(data)
        if magic != VOLATILE_MAGIC:
            raise VmdkDamagedError("an SEsparse extent without its volatile header")
        if replay:
            raise VmdkDirtyError(
                "an SEsparse extent whose journal was not replayed",
                hint="power the VM on and off, or consolidate its disks, and try again",
            )


def decode_directory(raw: NDArray[np.uint64], header: SeSparseHeader, file_bytes: int) -> Grains:
    index = (raw & np.uint64(0xFFFFFFFF)).astype(np.int64)
    high = raw >> np.uint64(32)
    if bool(((raw != 0) & (high != _PRESENT)).any()):
        raise VmdkDamagedError("an SEsparse directory entry of an unknown kind")
    places = np.where(raw == 0, ABSENT, header.tables_offset + index * TABLE_BYTES)
    high_end = min(file_bytes, header.tables_offset + header.tables_bytes)
    return checked_places(places, TABLE_BYTES, header.tables_offset, high_end, "a grain table")


def decode_table(raw: NDArray[np.uint64], header: SeSparseHeader, file_bytes: int) -> Grains:
    kind = raw >> np.uint64(60)
    if bool(((kind > 3) | ((kind == 0) & (raw != 0))).any()):
        raise VmdkDamagedError("an SEsparse table entry of an unknown kind")
    index = ((raw >> np.uint64(48)) & np.uint64(0xFFF)) | ((raw & _LOW_48) << np.uint64(12))
    limit = max(0, file_bytes - header.grains_offset) // header.grain_bytes
    if bool(((kind == 3) & (index >= np.uint64(limit))).any()):
        raise VmdkDamagedError("a grain outside the file")
    bounded = np.where(kind == 3, index, np.uint64(0)).astype(np.int64)
    places = header.grains_offset + bounded * header.grain_bytes
    return np.where(kind == 3, places, np.where(kind == 0, PARENT, ZERO))


def encode_table(grains: Grains, header: SeSparseHeader) -> bytes:
    index = np.where(grains >= 0, (grains - header.grains_offset) // header.grain_bytes, 0).astype(np.uint64)
    entry = np.uint64(3 << 60) | ((index & np.uint64(0xFFF)) << np.uint64(48)) | (index >> np.uint64(12))
    marks = np.where(grains == ZERO, np.uint64(2 << 60), np.uint64(0))
    return np.where(grains >= 0, entry, marks).astype("<u8").tobytes()


class SeSparseReader:
    """An SEsparse extent: tables are read when asked for, in blocks of 512 KiB, at most 8 MiB kept. Thread-safe.

    Raises VmdkDirtyError where its journal was not replayed.
    """

    table_grains = TABLE_GRAINS

    def __init__(self, source: ByteSource, capacity_bytes: int | None = None) -> None:
        self.source = source
        if source.size_bytes < 2 * SECTOR:
            raise VmdkDamagedError(
                f"an SEsparse extent of {source.size_bytes} bytes has no room for its headers"
            )
        self._header = SeSparseHeader.parse(source.read_at(0, SECTOR), source.size_bytes)
        offset = self._header.volatile_offset
        if offset + SECTOR > source.size_bytes:
            raise VmdkDamagedError("an SEsparse extent whose volatile header is outside the file")
        self._header.check_clean(source.read_at(offset, SECTOR))
        self.grain_bytes = self._header.grain_bytes
        self.capacity_bytes = agreed_capacity(self._header.capacity_bytes, capacity_bytes)
        self._cache = MetadataCache(source, _CACHE_BLOCK_BYTES, blocks=16)

    def map(self, start: int, length: int) -> list[Mapped]:
        return map_grains(self, start, length)

    def directory(self, first: int, count: int) -> Grains:
        raw = self._array(self._header.directory_offset + first * 8, count)
        return decode_directory(raw, self._header, self.source.size_bytes)

    def table(self, offset: int, first: int, count: int) -> Grains:
        return decode_table(self._array(offset + first * 8, count), self._header, self.source.size_bytes)

    def _array(self, offset: int, count: int) -> NDArray[Any]:
        return self._cache.array(offset, count, "<u8")


class SeSparseWriter(GrainWriter):
    """An SEsparse extent that can be written at random; see ``GrainWriter``.

    It keeps no journal and no free bitmap: grains are only ever added, so the file is never dirty.
    """

    _header: SeSparseHeader

    def _layout(self, capacity_bytes: int) -> tuple[Layout, dict[int, bytes]]:
        sectors = whole_sectors(capacity_bytes)
        grains = -(-sectors // GRAIN_SECTORS)
        tables = -(-grains // TABLE_GRAINS)
        needs = (tables * 8, tables * TABLE_BYTES, -(-grains // 8), grains * 8, 0)
        fields = [MAGIC, VERSION, sectors, GRAIN_SECTORS, TABLE_SECTORS, 0, 0, 0, 0, 0]
        fields += [1, 1, 2, 2, _ALIGN_SECTORS, _ALIGN_SECTORS]
        position = 2 * _ALIGN_SECTORS
        for need in needs:
            size = -(-need // (_ALIGN_SECTORS * SECTOR)) * _ALIGN_SECTORS
            fields += [position, size]
            position += size
        header = _HEADER.pack(*fields).ljust(SECTOR, b"\0")
        volatile = _VOLATILE.pack(VOLATILE_MAGIC, 0, 0, 0).ljust(SECTOR, b"\0")
        return self._parse(header, position * SECTOR), {0: header, SECTOR: volatile}

    def _parse(self, data: bytes, file_bytes: int) -> Layout:
        header = self._header = SeSparseHeader.parse(data[:SECTOR], file_bytes)
        if len(data) >= 2 * SECTOR:
            header.check_clean(data[SECTOR:])
        tables = -(-header.capacity_bytes // (TABLE_GRAINS * header.grain_bytes))
        return Layout(
            header.capacity_bytes,
            header.grain_bytes,
            TABLE_GRAINS,
            8,
            header.grains_offset,
            header.directory_offset,
            tables,
        )

    def _new_table(self, index: int) -> tuple[int, bytes]:
        # Tables have places of their own, so the one of each 16 MiB can be where it would be if all were there.
        return self._header.tables_offset + index * TABLE_BYTES, (_PRESENT << 32 | index).to_bytes(
            8, "little"
        )

    def _decode_directory(self, raw: bytes) -> Grains:
        return decode_directory(np.frombuffer(raw, "<u8"), self._header, self.size_bytes)

    def _decode_table(self, raw: bytes) -> Grains:
        return decode_table(np.frombuffer(raw, "<u8"), self._header, self.size_bytes)

    def _encode_table(self, grains: Grains) -> bytes:
        return encode_table(grains, self._header)
