"""Writing of qcow2 images, version 3, without a child process.

::

    cluster 0      header (written last: what was not finished is no qcow2)
    1 …            L1 table, one u64 for each 512 MiB
    …              data clusters and L2 tables as they are first needed
    end            reference table and counts: each cluster of the file is used once

All numbers big-endian; a cluster has 64 KiB. Source: qemu's docs/interop/qcow2.
"""

from __future__ import annotations

import os
import struct
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

from vbm.disk.byte_source import write_fully
from vbm.disk.raw import Data, ImageWriteError, check_range, close_durably, create_file, is_zero
from vbm.errors import InputError
from vbm.units import KIB

CLUSTER_BYTES: Final = 64 * KIB
_PER_TABLE: Final = CLUSTER_BYTES // 8  # L2 entries
_COUNTS_PER_CLUSTER: Final = CLUSTER_BYTES // 2
_COPIED: Final = 1 << 63
_HEADER: Final = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_TABLES_KEPT: Final = 16  # L2 tables in memory: 1 MiB
_MAX_L1: Final = 1 << 22  # qemu's own limit: 32 MiB of L1


class Qcow2Writer:
    """An ImageWriter. Zeros take no room. Thread-safe; memory: 1 MiB and the L1 table."""

    def __init__(self, path: Path, capacity_bytes: int, *, overwrite: bool = False) -> None:
        self._tables_in_l1 = -(-capacity_bytes // (CLUSTER_BYTES * _PER_TABLE))
        if capacity_bytes <= 0 or capacity_bytes % 512 or self._tables_in_l1 > _MAX_L1:
            raise InputError(f"a qcow2 image can't have {capacity_bytes} bytes")
        self.capacity_bytes = capacity_bytes
        self._path = path
        self._lock = threading.Lock()
        self._descriptor = create_file(path, overwrite=overwrite)
        self._l1 = bytearray(self._tables_in_l1 * 8)
        self._clusters = 1 + -(-len(self._l1) // CLUSTER_BYTES)
        self._tables: OrderedDict[int, bytearray] = OrderedDict()  # by L1 index

    def write(self, offset: int, data: Data) -> None:
        check_range(offset, len(data), self.capacity_bytes)
        view = memoryview(data).cast("B")
        try:
            while len(view):
                inside = offset % CLUSTER_BYTES
                piece = view[: CLUSTER_BYTES - inside]
                self._write_cluster(offset // CLUSTER_BYTES, inside, piece)
                view = view[len(piece) :]
                offset += len(piece)
        except OSError as error:
            raise ImageWriteError(f"can't write {self._path}: {error}") from error

    def close(self) -> None:
        with self._lock:
            if self._descriptor < 0:
                return
            try:
                self._finish()
            except OSError as error:
                raise ImageWriteError(f"can't write {self._path}: {error}") from error
            close_durably(self._descriptor, self._path)
            self._descriptor = -1

    def discard(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
                self._path.unlink(missing_ok=True)

    def _write_cluster(self, cluster: int, inside: int, piece: memoryview) -> None:
        zero = is_zero(piece)
        with self._lock:
            table = self._table(cluster // _PER_TABLE, create=not zero)
            if table is None:
                return
            at = cluster % _PER_TABLE * 8
            place = int.from_bytes(table[at : at + 8], "big") & ~_COPIED
            if not place:
                if zero:
                    return
                place = self._allocate()
                table[at : at + 8] = (place | _COPIED).to_bytes(8, "big")
        write_fully(self._descriptor, place + inside, piece)

    def _table(self, index: int, *, create: bool) -> bytearray | None:
        """The L2 table, read back if it was written out. None where there is none and none is wanted."""
        if index in self._tables:
            self._tables.move_to_end(index)
            return self._tables[index]
        place = int.from_bytes(self._l1[index * 8 : index * 8 + 8], "big") & ~_COPIED
        if not place and not create:
            return None
        table = bytearray(CLUSTER_BYTES)
        if place:
            data = os.pread(self._descriptor, CLUSTER_BYTES, place)
            table[: len(data)] = data
        else:
            self._l1[index * 8 : index * 8 + 8] = (self._allocate() | _COPIED).to_bytes(8, "big")
        self._tables[index] = table
        while len(self._tables) > _TABLES_KEPT:
            self._write_table(*self._tables.popitem(last=False))
        return table

    def _write_table(self, index: int, table: bytearray) -> None:
        place = int.from_bytes(self._l1[index * 8 : index * 8 + 8], "big") & ~_COPIED
        write_fully(self._descriptor, place, table)

    def _allocate(self) -> int:
        """A cluster of zeros at the end of the file."""
        self._clusters += 1
        os.truncate(self._descriptor, self._clusters * CLUSTER_BYTES)
        return (self._clusters - 1) * CLUSTER_BYTES

    def _finish(self) -> None:
        for index, table in self._tables.items():
            self._write_table(index, table)
        write_fully(self._descriptor, CLUSTER_BYTES, self._l1)
        table_at, table_clusters = self._write_counts()
        header = _HEADER.pack(
            b"QFI\xfb", 3, 0, 0, 16, self.capacity_bytes, 0, self._tables_in_l1, CLUSTER_BYTES,
            table_at, table_clusters, 0, 0, 0, 0, 0, 4, 104,
        )  # fmt: skip
        os.fsync(self._descriptor)
        write_fully(self._descriptor, 0, header)

    def _write_counts(self) -> tuple[int, int]:
        """Reference table, then its blocks; both count themselves. Answers the table's place and clusters."""
        blocks, table_clusters = _counting(self._clusters)
        table_at = self._clusters * CLUSTER_BYTES
        total = self._clusters + table_clusters + blocks
        first = table_at + table_clusters * CLUSTER_BYTES
        os.truncate(self._descriptor, total * CLUSTER_BYTES)
        for index in range(blocks):
            place = first + index * CLUSTER_BYTES
            write_fully(self._descriptor, table_at + index * 8, place.to_bytes(8, "big"))
            count = min(_COUNTS_PER_CLUSTER, total - index * _COUNTS_PER_CLUSTER)
            write_fully(self._descriptor, place, b"\0\1" * count)
        return table_at, table_clusters


def _counting(clusters: int) -> tuple[int, int]:
    """Blocks and table clusters that count ``clusters`` clusters and themselves."""
    blocks = table = 1
    while True:
        total = clusters + blocks + table
        wanted = -(-total // _COUNTS_PER_CLUSTER), -(-blocks // _PER_TABLE)
        if wanted == (blocks, table):
            return wanted
        blocks, table = max(blocks, wanted[0]), max(table, wanted[1])
