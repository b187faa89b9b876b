"""One pack read once, in order and in pieces: which of its chunks are not what their ids say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from vbm.cancel import CancelToken
from vbm.errors import DamagedError
from vbm.ids import ChunkId, PackId
from vbm.objectstore.base import Data, ObjectMissingError, ObjectStore
from vbm.repository.envelope import Envelope
from vbm.repository.format import pack_key
from vbm.repository.index import Entry
from vbm.repository.pack import Place, open_chunk, read_table
from vbm.units import KIB, MIB

_PIECE_BYTES: Final = 8 * MIB  # at once in memory, by each thread
_GAP_BYTES: Final = 256 * KIB  # rather read over than asked around


@dataclass(slots=True)
class PackVerdict:
    """What one pack is worth. ``lengths``: of the good chunks that are shorter than a whole chunk."""

    pack: PackId
    chunks: int = 0
    bytes_read: int = 0
    bytes_checked: int = 0
    bad: dict[ChunkId, str] = field(default_factory=dict)
    lengths: dict[ChunkId, int] = field(default_factory=dict)
    is_missing: bool = False
    table_problem: str = ""


class PackCheck:
    """Checks packs against places that the index gives. Thread-safe; takes about 16 MiB in each thread."""

    def __init__(self, store: ObjectStore, envelope: Envelope, chunk_size_bytes: int) -> None:
        self._store = store
        self._envelope = envelope
        self._chunk_size_bytes = chunk_size_bytes

    def look(self, pack: PackId, wanted: Sequence[Entry], cancel: CancelToken) -> PackVerdict:
        """Open and check these chunks, and hold the pack's own table against them. Other errors of the store go on."""
        verdict = PackVerdict(pack)
        try:
            for piece in _pieces(wanted):
                cancel.check()
                self._piece(piece, verdict)
            verdict.table_problem = self._table_problem(pack, wanted)
        except ObjectMissingError as error:
            verdict.is_missing = True
            verdict.bad = {chunk: error.message for chunk, _ in wanted}
        return verdict

    def _piece(self, piece: Sequence[Entry], verdict: PackVerdict) -> None:
        start, last = piece[0][1].offset, piece[-1][1]
        length = last.offset + last.length - start
        try:
            content = memoryview(self._store.get_range(pack_key(last.pack), start, length))
        except DamagedError as error:
            if len(piece) > 1:  # cut short, or unreadable somewhere: find out where
                for entry in piece:
                    self._piece([entry], verdict)
                return
            verdict.chunks += 1
            verdict.bad[piece[0][0]] = error.message
            return
        verdict.bytes_read += length
        for chunk, place in piece:
            self._chunk((chunk, place), content[place.offset - start :][: place.length], verdict)

    def _chunk(self, entry: Entry, stored: Data, verdict: PackVerdict) -> None:
        chunk, place = entry
        verdict.chunks += 1
        try:
            length = self._length(chunk, place, stored)
        except DamagedError as error:
            verdict.bad[chunk] = error.message
            return
        verdict.bytes_checked += length
        if length != self._chunk_size_bytes:
            verdict.lengths[chunk] = length

    def _length(self, chunk: ChunkId, place: Place, stored: Data) -> int:
        """The chunk's length. What is damaged is read once more: it may have been the way here."""
        try:
            return len(open_chunk(self._envelope, chunk, place, stored))
        except DamagedError:
            again = self._store.get_range(pack_key(place.pack), place.offset, place.length)
            return len(open_chunk(self._envelope, chunk, place, again))

    def _table_problem(self, pack: PackId, wanted: Sequence[Entry]) -> str:
        """Why the index could not be rebuilt from this pack; empty where it could."""
        try:
            there = set(read_table(self._store, self._envelope, pack))
        except DamagedError as error:
            return error.message
        return "" if there.issuperset(wanted) else f"{pack_key(pack)} has the table of another pack"


def _pieces(wanted: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Ascending places that lie close together, gathered for one read each."""
    piece: list[Entry] = []
    for entry in wanted:
        place = entry[1]
        if piece:
            first, last = piece[0][1], piece[-1][1]
            apart = place.offset - (last.offset + last.length)
            if apart > _GAP_BYTES or place.offset + place.length - first.offset > _PIECE_BYTES:
                yield piece
                piece = []
        piece.append(entry)
    if piece:
        yield piece
