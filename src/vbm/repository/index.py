"""The index: chunk id → places, in sorted arrays of fixed width. A cache: packs are the truth.

In memory a chunk takes 44 bytes, 32 of them its id. The arrays are 256, by the first byte of the id, so that growing
one needs little memory; before them stands the *tail*, a sorted array of what came lately, at most a quarter of the
rest, and before that a dict of the newest few. Arrays are replaced as a whole, never changed: readers take no lock.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np

from vbm.ids import ChunkId, PackId
from vbm.objectstore.base import ObjectExistsError, ObjectStore
from vbm.repository.envelope import Envelope
from vbm.repository.format import FormatError
from vbm.repository.index_run import ID_BYTES, META, Array, Bools, Row, SortedRun
from vbm.repository.pack import Place

INDEX_PREFIX: Final = "index/"
PACKED_BIT: Final = 1 << 31
_PURPOSE: Final = "index"  # segments are named after their own bytes, so they are sealed to this
_HEAD: Final = struct.Struct("<II")  # packs, entries
_ENTRY: Final = np.dtype([("id", "V32"), ("pack", "<u4"), ("offset", "<u4"), ("length", "<u4")])
_SEGMENT_ENTRIES: Final = 65536
_FOLD: Final = 8192  # chunks in the dict
_SMALLEST_TAIL: Final = 65536
_BATCH: Final = 1 << 18  # rows of segments sorted at a time

Entry = tuple[ChunkId, Place]


class ChunkIndex:
    """Every known place of every chunk. Thread-safe; lookups wait for nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._packs: list[PackId] = []
        self._numbers: dict[PackId, int] = {}
        self._recent: dict[ChunkId, list[Row]] = {}
        self._tail = SortedRun.empty()
        self._runs = [SortedRun.empty()] * 256

    def __len__(self) -> int:
        return len(self._recent) + len(self._tail) + sum(map(len, self._runs))

    @property
    def nbytes(self) -> int:
        """Bytes of memory in the arrays."""
        return self._tail.nbytes + sum(run.nbytes for run in self._runs)

    def add(self, entries: Iterable[Entry]) -> None:
        """Remember these places too; one known already is not added again."""
        with self._lock:
            for chunk, place in entries:
                row = (self._number(place.pack), place.offset, _length_field(place))
                rows = self._recent.setdefault(chunk, [])
                if row not in rows:
                    rows.append(row)
            if len(self._recent) >= _FOLD:
                self._fold()

    def add_segment(self, packs: Sequence[PackId], rows: Array) -> None:
        """Remember a whole segment: ``rows`` as ``read_segment`` gives them; pack numbers count in ``packs``."""
        self.add_segments([(packs, rows)])

    def add_segments(self, segments: Iterable[tuple[Sequence[PackId], Array]]) -> None:
        """Remember many segments, sorted in large batches: the fast way to load an index."""
        batch: list[SortedRun] = []
        for packs, rows in segments:
            batch.append(self._renumbered(packs, rows))
            if sum(map(len, batch)) >= _BATCH:
                self._append(SortedRun.joined(batch))
                batch = []
        if batch:
            self._append(SortedRun.joined(batch))

    def _renumbered(self, packs: Sequence[PackId], rows: Array) -> SortedRun:
        with self._lock:
            numbers = np.array([self._number(pack) for pack in packs], dtype="<u4")
        meta = np.empty(len(rows), META)
        for name in ("offset", "length"):
            meta[name] = rows[name]
        if len(rows):
            meta["pack"] = numbers[rows["pack"]]
        return SortedRun(np.ascontiguousarray(rows["id"]).view("S32"), meta)

    def _append(self, run: SortedRun) -> None:
        with self._lock:
            self._publish(run)

    def _number(self, pack: PackId) -> int:
        number = self._numbers.setdefault(pack, len(self._packs))
        if number == len(self._packs):
            self._packs.append(pack)
        return number

    def _fold(self) -> None:
        pairs = [(chunk, row) for chunk, rows in self._recent.items() for row in reversed(rows)]
        ids = np.frombuffer(b"".join(chunk for chunk, _ in pairs), "S32")
        self._publish(SortedRun(ids, np.array([row for _, row in pairs], META)).sorted())
        self._recent = {}  # after publishing: a reader looks here first

    def _publish(self, run: SortedRun) -> None:
        self._tail = self._tail.merged(run)
        if len(self._tail) > max(_SMALLEST_TAIL, sum(map(len, self._runs)) // 4):
            self._distribute()

    def _distribute(self) -> None:
        """Move the tail into the arrays, one after the other, so that little is there twice."""
        tail = self._tail
        firsts = np.array([bytes([byte]) for byte in range(256)], "S32")
        bounds = [*tail.ids.searchsorted(firsts).tolist(), len(tail)]
        for byte in range(256):
            if bounds[byte] < bounds[byte + 1]:
                part = tail.part(bounds[byte], bounds[byte + 1])
                self._runs[byte] = self._runs[byte].merged(part)
        self._tail = SortedRun.empty()  # last: a reader looks here before it looks into the arrays

    def compact(self) -> None:
        """Move what was added lately into the arrays: the least memory."""
        with self._lock:
            self._fold()
            self._distribute()

    def places(self, chunk: ChunkId) -> list[Place]:
        """Where the chunk lies, the place learnt last first; empty if it is not known."""
        rows = [*reversed(self._recent.get(chunk, ()))]  # in this order, see _fold and _distribute
        rows += self._tail.find(chunk)
        rows += self._runs[chunk[0]].find(chunk)
        return [self._place(*row) for row in (dict.fromkeys(rows) if len(rows) > 1 else rows)]

    def _place(self, pack: int, offset: int, length: int) -> Place:
        return Place(self._packs[pack], offset, length & ~PACKED_BIT, bool(length & PACKED_BIT))

    def __contains__(self, chunk: ChunkId) -> bool:
        return bool(self.places(chunk))

    def present(self, ids: bytes, absent: Container[PackId] = ()) -> Bools:
        """For each of the ids, one after the other: whether it lies in a pack that is not ``absent``.

        Fast for thousands of ids at once.
        """
        wanted = np.frombuffer(ids, "S32")
        order = np.argsort(wanted, kind="stable")
        wanted = wanted[order]
        bounds = np.frombuffer(wanted.tobytes(), "u1")[::ID_BYTES].searchsorted(np.arange(257))
        good = ~self._mask(absent)
        found = self._tail.has(wanted, good)
        for byte in range(256):
            part = slice(bounds[byte], bounds[byte + 1])
            if part.start < part.stop:
                found[part] |= self._runs[byte].has(wanted[part], good)
        for at in np.flatnonzero(~found):  # in a second place, in the dict, or nowhere
            chunk = ChunkId(ids[order[at] * ID_BYTES : (order[at] + 1) * ID_BYTES])
            found[at] = any(place.pack not in absent for place in self.places(chunk))
        answer = np.empty(len(found), np.bool_)
        answer[order] = found
        return answer

    def _mask(self, packs: Container[PackId]) -> Bools:
        """For each pack number, whether it is one of these."""
        with self._lock:
            known = [*self._packs]
        return np.fromiter((pack in packs for pack in known), np.bool_, len(known))

    def only_in(self, packs: Container[PackId]) -> set[ChunkId]:
        """The chunks that lie in these packs and in no other."""
        self.compact()
        mask = self._mask(packs)
        inside = {
            ChunkId(raw.tobytes()) for run in self._runs for raw in run.raw_ids()[mask[run.meta["pack"]]]
        }
        return {c for c in inside if all(place.pack in packs for place in self.places(c))}

    def packs(self) -> frozenset[PackId]:
        """Every pack that some entry names."""
        with self._lock:
            return frozenset(self._packs)

    def ends(self) -> dict[PackId, int]:
        """For each pack, the size that it has at least, by the chunks known to lie in it."""
        self.compact()
        with self._lock:
            known = [*self._packs]
            runs = [run for run in self._runs if len(run)]
        ends = np.zeros(len(known), "<u8")
        for run in runs:
            last = run.meta["offset"] + (run.meta["length"] & np.uint32(PACKED_BIT - 1)).astype("<u8")
            np.maximum.at(ends, run.meta["pack"], last)
        return dict(zip(known, ends.tolist(), strict=True))

    def columns(self) -> Iterator[tuple[list[PackId], Array, Array, Array]]:
        """Every entry as arrays, piece by piece: all packs, then ids, numbers of packs and lengths as stored."""
        self.compact()
        for run in [*self._runs]:
            if len(run):
                yield (
                    self._packs,
                    run.raw_ids(),
                    run.meta["pack"],
                    run.meta["length"] & np.uint32(PACKED_BIT - 1),
                )

    def rows(self) -> Iterator[tuple[Array, Array]]:
        """Every entry as ids and places, piece by piece; ``place`` makes a Place of one row of the second array."""
        self.compact()
        return ((run.raw_ids(), run.meta) for run in [*self._runs] if len(run))

    def place(self, row: Any) -> Place:
        return self._place(int(row["pack"]), int(row["offset"]), int(row["length"]))

    def pack_names(self) -> list[PackId]:
        """The packs by their numbers in the rows."""
        with self._lock:
            return [*self._packs]

    def entries(self) -> Iterator[Entry]:
        """Every place of every chunk, in order of id. Bounded memory."""
        self.compact()
        for run in [*self._runs]:
            for raw, row in zip(run.raw_ids(), run.meta.tolist(), strict=True):
                yield ChunkId(raw.tobytes()), self._place(*row)


def _length_field(place: Place) -> int:
    return place.length | (PACKED_BIT if place.packed else 0)


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
        (chunk, numbers[place.pack], place.offset, _length_field(place)) for chunk, place in entries
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
    with suppress(ObjectExistsError):  # where nothing is encrypted, equal entries are equal bytes
        store.put(key, [sealed])
    return key


def read_segment(store: ObjectStore, envelope: Envelope, key: str) -> tuple[list[PackId], Array]:
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
