"""A sorted array of index entries: 44 bytes each, never changed."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

ID_BYTES: Final = 32
META: Final = np.dtype([("pack", "<u4"), ("offset", "<u4"), ("length", "<u4")])
_ROW: Final = struct.Struct("<III")

Row = tuple[int, int, int]  # number of the pack, offset, length with the bit that says compressed
Bools = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]


class SortedRun:
    """Parallel arrays sorted by id; never changed."""

    __slots__ = ("_bytes", "_rows", "ids", "meta")

    def __init__(self, ids: Array, meta: Array) -> None:
        self.ids = ids
        self.meta = meta
        self._bytes = _bytes_of(ids)
        self._rows = _bytes_of(meta)

    @classmethod
    def empty(cls) -> SortedRun:
        return cls(np.empty(0, "S32"), np.empty(0, META))

    @classmethod
    def joined(cls, runs: Sequence[SortedRun]) -> SortedRun:
        """All of them, in any order, as one that is sorted."""
        return cls(
            np.concatenate([run.ids for run in runs]), np.concatenate([run.meta for run in runs])
        ).sorted()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        return self.ids.nbytes + self.meta.nbytes

    def sorted(self) -> SortedRun:
        order = np.argsort(self.ids, kind="stable")
        return SortedRun(self.ids[order], self.meta[order])

    def part(self, first: int, end: int) -> SortedRun:
        return SortedRun(self.ids[first:end], self.meta[first:end])

    def raw_ids(self) -> Array:
        return self.ids.view("V32")

    def merged(self, new: SortedRun) -> SortedRun:
        """Both in one; of equal ids the new come first; rows that are here already are left out."""
        at = self.ids.searchsorted(new.ids)
        fresh = np.ones(len(new), np.bool_)
        if len(self):
            known = np.flatnonzero(self.ids[np.minimum(at, len(self) - 1)] == new.ids)
            for i in known.tolist():
                fresh[i] = new.row(i) not in self.find(new.id(i))
        at = at[fresh]
        ids = np.insert(self.ids, at, new.ids[fresh])
        return SortedRun(ids, np.insert(self.meta, at, new.meta[fresh]))

    def id(self, at: int) -> bytes:
        return bytes(self._bytes[at * ID_BYTES : (at + 1) * ID_BYTES])

    def row(self, at: int) -> Row:
        return _ROW.unpack_from(self._rows, at * _ROW.size)

    def find(self, chunk: bytes) -> list[Row]:
        if not len(self.ids):
            return []
        found = []
        at = int(self.ids.searchsorted(chunk))
        while self._bytes[at * ID_BYTES : (at + 1) * ID_BYTES] == chunk:
            found.append(self.row(at))
            at += 1
        return found

    def has(self, wanted: Array, good: Bools) -> Bools:
        """For each id whether its first row here is in a pack that is good."""
        if not len(self):
            return np.zeros(len(wanted), np.bool_)
        at = np.minimum(self.ids.searchsorted(wanted), len(self) - 1)
        found: Bools = (self.ids[at] == wanted) & good[self.meta["pack"][at]]
        return found


def _bytes_of(array: Array) -> memoryview:
    return array.view("u1").data if len(array) else memoryview(b"")
