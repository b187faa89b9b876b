"""What the two delta formats of vSphere have in common: a directory of tables of grains.

A *grain* is the unit of allocation; a *table* has the places of 4096 of them; the *directory* has the
places of the tables. Tables are decoded to arrays with one signed number a grain: its byte offset in the
file, or PARENT (never written here: ask the parent), or ZERO (reads as zeros).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from enum import Enum
from itertools import pairwise
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vbm.disk.byte_source import ByteSource
from vbm.disk.raw import check_range
from vbm.disk.vmdk.errors import VmdkDamagedError
from vbm.units import MIB

Grains = NDArray[np.int64]

PARENT: Final = -1
ZERO: Final = -2
ABSENT: Final = -1  # in a directory: no table yet, so all its grains are PARENT
_WINDOW: Final = 4096  # directory entries looked at together


class Where(Enum):
    PARENT = "parent"
    ZERO = "zero"
    DATA = "data"


class Mapped(NamedTuple):
    """A range of the disk and where its bytes are; ``file_offset`` counts for DATA only."""

    start: int
    length: int
    where: Where
    file_offset: int

    @property
    def end(self) -> int:
        return self.start + self.length


class GrainTables(Protocol):
    """A delta extent, decoded on demand. Raises VmdkDamagedError for any place outside the file."""

    capacity_bytes: int
    grain_bytes: int
    table_grains: int

    def directory(self, first: int, count: int) -> Grains:
        """The byte offsets of tables, or ABSENT."""

    def table(self, offset: int, first: int, count: int) -> Grains:
        """A part of the table at that byte offset."""


def map_grains(tables: GrainTables, start: int, length: int) -> list[Mapped]:
    """Where the bytes of ``[start, start + length)`` are: ascending, without a gap, neighbours joined."""
    check_range(start, length, tables.capacity_bytes)
    return list(_joined(_mapped(tables, start, start + length)))


def _mapped(tables: GrainTables, start: int, end: int) -> Iterator[Mapped]:
    span = tables.grain_bytes * tables.table_grains
    if start >= end:
        return
    first, last = start // span, (end - 1) // span
    for base in range(first, last + 1, _WINDOW):
        places = tables.directory(base, min(_WINDOW, last + 1 - base))
        for low, high in _equal_runs(places == ABSENT):
            if places[low] == ABSENT:
                here, there = max(start, (base + low) * span), min(end, (base + high) * span)
                yield Mapped(here, there - here, Where.PARENT, 0)
                continue
            for index in range(low, high):
                bottom = (base + index) * span
                yield from _in_table(
                    tables, int(places[index]), bottom, max(start, bottom), min(end, bottom + span)
                )


def _in_table(tables: GrainTables, place: int, bottom: int, start: int, end: int) -> Iterator[Mapped]:
    grain = tables.grain_bytes
    first, last = (start - bottom) // grain, (end - 1 - bottom) // grain
    grains = tables.table(place, first, last + 1 - first)
    for low, high in place_runs(grains, grain):
        here = max(start, bottom + (first + low) * grain)
        there = min(end, bottom + (first + high) * grain)
        value = int(grains[low])
        if value >= 0:
            inside = here - (bottom + (first + low) * grain)
            yield Mapped(here, there - here, Where.DATA, value + inside)
        else:
            yield Mapped(here, there - here, Where.PARENT if value == PARENT else Where.ZERO, 0)


def place_runs(grains: Grains, grain_bytes: int) -> list[tuple[int, int]]:
    """Index ranges whose grains are all PARENT, all ZERO, or one after another in the file."""
    before, after = grains[:-1], grains[1:]
    same = ((before < 0) & (after == before)) | ((before >= 0) & (after - before == grain_bytes))
    return _ranges(~same, len(grains))


def _equal_runs(values: NDArray[np.bool_]) -> list[tuple[int, int]]:
    return _ranges(values[1:] != values[:-1], len(values))


def _ranges(breaks: NDArray[np.bool_], count: int) -> list[tuple[int, int]]:
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), count]
    return list(pairwise(edges))


def _joined(parts: Iterator[Mapped]) -> Iterator[Mapped]:
    last: Mapped | None = None
    for part in parts:
        if last is not None and last.where is part.where and _follows(last, part):
            last = Mapped(last.start, last.length + part.length, last.where, last.file_offset)
            continue
        if last is not None:
            yield last
        last = part
    if last is not None:
        yield last


def _follows(last: Mapped, part: Mapped) -> bool:
    return part.where is not Where.DATA or last.file_offset + last.length == part.file_offset


def checked_places(places: Grains, size: int, low: int, high: int, what: str) -> Grains:
    """The places, if each lies with ``size`` bytes within ``[low, high)`` or is negative."""
    if bool(((places >= 0) & ((places < low) | (places > high - size))).any()):
        raise VmdkDamagedError(f"{what} outside the file or inside its metadata")
    return places


def checked_apart(places: Grains, size: int, low: int, high: int) -> Grains:
    """The places, if none with its ``size`` bytes touches the table ``[low, high)`` that names it."""
    if bool(((places >= 0) & (places > low - size) & (places < high)).any()):
        raise VmdkDamagedError("a grain table that names itself as data")
    return places


class MetadataCache:
    """Small reads of one source served from large blocks, the least recently used of them dropped.

    Bounded by ``blocks`` × ``block_bytes``. Thread-safe; two threads may fetch one block at once.
    """

    def __init__(self, source: ByteSource, block_bytes: int, blocks: int = 4 * MIB // (64 * 1024)) -> None:
        self._source = source
        self._block_bytes = block_bytes
        self._blocks = blocks
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, offset: int, length: int) -> bytes:
        """As ``ByteSource.read_at``."""
        if offset < 0 or offset + length > self._source.size_bytes:
            raise VmdkDamagedError(f"metadata at {offset}+{length} outside the file")
        size = self._block_bytes
        first, last = offset // size, (offset + length - 1) // size
        data = self._block(first) if first == last else b"".join(map(self._block, range(first, last + 1)))
        return data[offset - first * size : offset - first * size + length]

    def array(self, offset: int, count: int, dtype: str) -> NDArray[Any]:
        """``count`` numbers from there, as the file has them."""
        kind = np.dtype(dtype)
        return np.frombuffer(self.read(offset, count * kind.itemsize), kind)

    def _block(self, index: int) -> bytes:
        with self._lock:
            if index in self._cache:
                self._cache.move_to_end(index)
                return self._cache[index]
        start = index * self._block_bytes
        data = self._source.read_at(start, min(self._block_bytes, self._source.size_bytes - start))
        with self._lock:
            self._cache[index] = data
            while len(self._cache) > self._blocks:
                self._cache.popitem(last=False)
        return data
