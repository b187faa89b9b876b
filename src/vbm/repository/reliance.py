"""What a writer may rely on: chunks in packs that are there, whole, and not about to be deleted.

A chunk that may not be relied on counts as absent: met again, it is stored anew; named by a map at commit, it is
stored again while it can still be read, or the commit fails.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Container, Iterable, Iterator

import numpy as np

from vbm.errors import DamagedError
from vbm.ids import ZERO_CHUNK, ChunkId, PackId
from vbm.objectstore.base import ObjectStore
from vbm.repository.condemned import condemned_packs, known_condemned
from vbm.repository.damage import bad_packs, damaged_chunks
from vbm.repository.disk_map import ID_BYTES, SEGMENT_IDS, MapBuilder
from vbm.repository.envelope import Envelope
from vbm.repository.index import ChunkIndex
from vbm.repository.pack import list_packs

_SEGMENTS = 16  # of a map, looked up at a time: 65,536 ids
_log = logging.getLogger(__name__)


class ChunksLostError(DamagedError):
    """A restore point would rely on chunks that no pack holds: it is not made."""

    code = "chunks-lost"


class Reliance:
    """One writer session's view. Thread-safe."""

    def __init__(self, store: ObjectStore, envelope: Envelope, index: ChunkIndex) -> None:
        self._store = store
        self._envelope = envelope
        self._index = index
        self._lock = threading.Lock()
        self._own: frozenset[PackId] = frozenset()
        self._absent: Container[PackId] = frozenset()
        self._damaged = damaged_chunks(store)
        self.doubtful = self.look_for_condemned()  # in this order: a pack goes before its record does
        self.look_for_packs()

    def look_for_condemned(self) -> bool:
        """Read which packs are condemned or bad by now; whether any is. With an unreadable record all may be."""
        records, damaged = known_condemned(self._store, self._envelope)
        condemned = condemned_packs(records) | bad_packs(self._store)
        for error in damaged:
            _log.warning("%s: nobody knows which packs it condemns, so nothing is deduplicated", error)
        with self._lock:
            self._condemned: Container[PackId] = _AllBut(self._own) if damaged else condemned
            self._absent = self._condemned
        return bool(damaged or condemned)

    def look_for_packs(self) -> None:
        """List the packs: those not there, or shorter than what they should hold, are absent from now on."""
        wanted = self._index.ends()
        for pack, size_bytes in list_packs(self._store):
            if wanted.get(pack, 0) <= size_bytes:
                wanted.pop(pack, None)
        with self._lock:
            self._absent = _Either(self._condemned, frozenset(wanted)) if wanted else self._condemned

    def stored(self, chunks: Iterable[ChunkId], pack: PackId) -> set[ChunkId]:
        """This session wrote that pack, with these chunks; which of them are healed by that."""
        with self._lock:
            self._own |= {pack}
            if isinstance(self._condemned, _AllBut):
                self._condemned.spared = self._own
            healed = self._damaged & set(chunks)
            self._damaged -= healed
        return healed

    def usable(self, chunk: ChunkId) -> bool:
        """Whether a new restore point may rely on the chunk."""
        if chunk == ZERO_CHUNK:
            return True
        absent = self._absent
        places = self._index.places(chunk)
        return chunk not in self._damaged and any(place.pack not in absent for place in places)

    def unusable_of(self, map_: MapBuilder) -> Iterator[tuple[int, ChunkId]]:
        """The chunks of a map that may not be relied on: index and id, ascending. Bounded memory."""
        damaged = np.array(sorted(self._damaged), "S32")
        for first in range(0, map_.segments, _SEGMENTS):
            numbers = range(first, min(first + _SEGMENTS, map_.segments))
            ids = b"".join(map_.segment(number) for number in numbers)
            words = np.frombuffer(ids, "<u8").reshape(-1, ID_BYTES // 8)
            used = np.flatnonzero(words.any(axis=1))
            wanted = np.frombuffer(ids, "V32")[used].tobytes()
            if not wanted:
                continue
            good = self._index.present(wanted, self._absent)
            if len(damaged):
                good &= ~np.isin(np.frombuffer(wanted, "S32"), damaged)
            for at in used[~good].tolist():
                yield first * SEGMENT_IDS + at, ChunkId(ids[at * ID_BYTES : (at + 1) * ID_BYTES])

    def require(self, map_: MapBuilder, name: str) -> None:
        """Raises ChunksLostError naming the disk and the first range that lacks its chunk."""
        lost = 0
        first = end = -1
        for index, _ in self.unusable_of(map_):
            if first < 0 or index == end:
                first, end = (index if first < 0 else first), index + 1
            lost += 1
        if lost:
            start = first * map_.chunk_size_bytes
            stop = min(end * map_.chunk_size_bytes, map_.capacity_bytes)
            raise ChunksLostError(
                f"{name}: no pack holds the chunks of bytes {start} to {stop} ({lost} missing in all)",
                hint="run the backup again: what is missing is read anew",
                disk=name,
                start=start,
                end=stop,
                chunks=lost,
            )


class _AllBut(Container[PackId]):
    """Every pack except these."""

    def __init__(self, spared: frozenset[PackId]) -> None:
        self.spared = spared

    def __contains__(self, pack: object) -> bool:
        return pack not in self.spared


class _Either(Container[PackId]):
    """What is in one of two."""

    def __init__(self, one: Container[PackId], two: Container[PackId]) -> None:
        self._one = one
        self._two = two

    def __contains__(self, pack: object) -> bool:
        return pack in self._one or pack in self._two
