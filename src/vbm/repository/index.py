"""The index: chunk id → place, in sorted arrays of fixed width; and its segments as objects.

In memory a chunk takes 56 bytes: 8 for the first bytes of its id (searched), 32 for the id, 16 for its place.
What was added lately stands in a dict until it is folded into the arrays. A cache: packs are the truth.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from vbm.ids import ChunkId, PackId
from vbm.objectstore.base import ObjectExistsError, ObjectStore
from vbm.repository.envelope import Envelope
from vbm.repository.format import FormatError
from vbm.repository.pack import Place

INDEX_PREFIX: Final = "index/"
_PURPOSE: Final = "index"  # segments are named after their own bytes, so they are sealed to this
_HEAD: Final = struct.Struct("<II")  # packs, entries
_PACKED_BIT: Final = 1 << 31
_SEGMENT_ENTRIES: Final = 65536
_FOLD: Final = 32768
_ENTRY: Final = np.dtype([("id", "V32"), ("pack", "<u4"), ("offset", "<u4"), ("length", "<u4")])
_PLACE: Final = np.dtype([("pack", "<u4"), ("offset", "<u4"), ("length", "<u4")])

Entry = tuple[ChunkId, Place]


class ChunkIndex:
    """Every known place of every chunk. Thread-safe; lookups do not wait for each other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._packs: list[PackId] = []
        self._numbers: dict[PackId, int] = {}
        self._table = _Table.empty()
        self._recent: dict[ChunkId, list[tuple[int, int, int]]] = {}

    def __len__(self) -> int:
        return len(self._table.keys) + len(self._recent)

    def add(self, entries: Iterable[Entry]) -> None:
        """Remember these places too; one known already is not added again."""
        with self._lock:
            for chunk, place in entries:
                row = (
                    self._number(place.pack),
                    place.offset,
                    place.length | (_PACKED_BIT if place.packed else 0),
                )
                rows = self._recent.setdefault(chunk, [])
                if row not in rows:
                    rows.append(row)
            if len(self._recent) >= _FOLD:
                self._fold()

    def add_segment(self, packs: Sequence[PackId], rows: npt.NDArray[Any]) -> None:
        """Remember a whole segment: ``rows`` of ``_ENTRY``, whose pack numbers count in ``packs``."""
        with self._lock:
            numbers = np.array([self._number(pack) for pack in packs], dtype="<u4")
            own = np.array(rows)
            own["pack"] = numbers[rows["pack"]] if len(rows) else rows["pack"]
            self._table = self._table.merged(own)

    def _number(self, pack: PackId) -> int:
        number = self._numbers.setdefault(pack, len(self._packs))
        if number == len(self._packs):
            self._packs.append(pack)
        return number

    def _fold(self) -> None:
        rows = [(chunk, *row) for chunk, places in self._recent.items() for row in places]
        self._table = self._table.merged(np.array(rows, dtype=_ENTRY))
        self._recent = {}

    def compact(self) -> None:
        """Fold what was added lately into the arrays: the least memory."""
        with self._lock:
            self._fold()

    def places(self, chunk: ChunkId) -> list[Place]:
        """Where the chunk lies, the place learnt last first; empty if it is not known."""
        recent, table = self._recent, self._table  # in this order: folding changes the table first
        rows = [*recent.get(chunk, ()), *table.find(chunk)]
        return [self._place(*row) for row in dict.fromkeys(rows)]

    def _place(self, pack: int, offset: int, length: int) -> Place:
        return Place(self._packs[pack], offset, length & ~_PACKED_BIT, bool(length & _PACKED_BIT))

    def __contains__(self, chunk: ChunkId) -> bool:
        return bool(self.places(chunk))

    def only_in(self, packs: Container[PackId]) -> set[ChunkId]:
        """The chunks that lie in these packs and in no other."""
        inside = {chunk for chunk, place in self.entries() if place.pack in packs}
        return (
            {c for c in inside if all(place.pack in packs for place in self.places(c))} if inside else inside
        )

    def packs(self) -> frozenset[PackId]:
        """Every pack that some entry names."""
        with self._lock:
            return frozenset(self._packs)

    def entries(self) -> Iterator[Entry]:
        """Every place of every chunk, in order of id. Bounded memory."""
        self.compact()
        table = self._table
        for first in range(0, len(table.keys), 4096):
            ids, rows = table.ids[first : first + 4096], table.rows[first : first + 4096]
            for raw, (pack, offset, length) in zip(ids, rows.tolist(), strict=True):
                yield ChunkId(raw.tobytes()), self._place(pack, offset, length)


class _Table:
    """Sorted parallel arrays; replaced as a whole, never changed, so readers need no lock."""

    __slots__ = ("ids", "keys", "rows")

    def __init__(self, keys: npt.NDArray[Any], ids: npt.NDArray[Any], rows: npt.NDArray[Any]) -> None:
        self.keys = keys
        self.ids = ids
        self.rows = rows

    @classmethod
    def empty(cls) -> _Table:
        return cls(np.empty(0, "<u8"), np.empty(0, "V32"), np.empty(0, _PLACE))

    def merged(self, entries: npt.NDArray[Any]) -> _Table:
        if not len(entries):
            return self
        keys = np.concatenate([self.keys, _keys_of(entries["id"])])
        order = np.argsort(keys, kind="stable")
        ids = np.concatenate([self.ids, entries["id"]])[order]
        places = np.empty(len(entries), _PLACE)
        for name in ("pack", "offset", "length"):
            places[name] = entries[name]
        return _Table(keys[order], ids, np.concatenate([self.rows, places])[order])

    def find(self, chunk: ChunkId) -> list[tuple[int, int, int]]:
        key = np.uint64(int.from_bytes(chunk[:8], "big"))
        first = int(self.keys.searchsorted(key))
        found = []
        while first < len(self.keys) and self.keys[first] == key:
            if self.ids[first].tobytes() == chunk:
                found.append(tuple(self.rows[first].tolist()))
            first += 1
        return found


def _keys_of(ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    wide = np.frombuffer(np.ascontiguousarray(ids).tobytes(), dtype=">u8").reshape(-1, 4)
    return wide[:, 0].astype("<u8")


def write_segments(store: ObjectStore, envelope: Envelope, entries: Iterable[Entry]) -> list[str]:
    """Write entries as segments of at most 65,536; the keys written. Existing equal segments are fine."""
    batch: list[Entry] = []
    keys = []
    for entry in entries:
        batch.append(entry)
        if len(batch) == _SEGMENT_ENTRIES:
            keys.append(_write_segment(store, envelope, batch))
            batch = []
    if batch:
        keys.append(_write_segment(store, envelope, batch))
    return keys


def _write_segment(store: ObjectStore, envelope: Envelope, entries: list[Entry]) -> str:
    packs = sorted({place.pack for _, place in entries})
    numbers = {pack: number for number, pack in enumerate(packs)}
    rows = sorted(
        (chunk, numbers[place.pack], place.offset, place.length | (_PACKED_BIT if place.packed else 0))
        for chunk, place in entries
    )
    plain = b"".join(
        [
            _HEAD.pack(len(packs), len(rows)),
            *map(bytes.fromhex, packs),
            np.array(rows, dtype=_ENTRY).tobytes(),
        ]
    )
    sealed = envelope.seal(_PURPOSE, plain)
    key = f"{INDEX_PREFIX}{hashlib.sha256(sealed).hexdigest()}"
    try:
        store.put(key, [sealed])
    except ObjectExistsError:
        pass
    return key


def read_segment(store: ObjectStore, envelope: Envelope, key: str) -> tuple[list[PackId], npt.NDArray[Any]]:
    """One segment's packs and rows. Raises FormatError where name, seal or lengths do not fit."""
    stored = store.get(key)
    if f"{INDEX_PREFIX}{hashlib.sha256(stored).hexdigest()}" != key:
        raise FormatError(f"{key} is damaged", key=key)
    plain = envelope.open(_PURPOSE, stored)
    try:
        packs, entries = _HEAD.unpack_from(plain)
    except struct.error as error:
        raise FormatError(f"{key} is cut short", key=key) from error
    start = _HEAD.size + 32 * packs
    if len(plain) != start + entries * _ENTRY.itemsize:
        raise FormatError(f"{key} has {len(plain)} bytes for {entries} chunks", key=key)
    names = [PackId(plain[at : at + 32].hex()) for at in range(_HEAD.size, start, 32)]
    rows = np.frombuffer(plain, dtype=_ENTRY, offset=start)
    if entries and int(rows["pack"].max()) >= packs:
        raise FormatError(f"{key} names a pack that it does not list", key=key)
    return names, rows
