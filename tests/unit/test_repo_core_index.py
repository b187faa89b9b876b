"""The index: small, right about every place, and rebuilt from what the packs say."""

from __future__ import annotations

import hashlib
import random
import threading
from pathlib import Path

import numpy as np
import pytest

from vbm.ids import ChunkId, PackId
from vbm.objectstore.local import LocalStore
from vbm.repository.envelope import Envelope
from vbm.repository.format import FormatError
from vbm.repository.index import ChunkIndex, Entry, read_segment, write_segments
from vbm.repository.pack import Place

ENVELOPE = Envelope(b"m" * 32)
PACKS = [PackId(hashlib.sha256(bytes([n])).hexdigest()) for n in range(200)]


def _entries(count: int, seed: int = 0) -> list[Entry]:
    dice = random.Random(seed)
    return [
        (
            ChunkId(dice.randbytes(32)),
            Place(
                dice.choice(PACKS), dice.randrange(40, 1 << 25), dice.randrange(1, 1 << 20), number % 2 == 0
            ),
        )
        for number in range(count)
    ]


def test_a_chunk_takes_at_most_70_bytes() -> None:
    index = ChunkIndex()
    entries = _entries(200_000)
    index.add(entries)
    index.compact()
    assert len(index) == 200_000
    assert index.nbytes / 200_000 <= 70
    for chunk, place in entries[::997]:
        assert index.places(chunk) == [place]


def test_what_is_not_there_is_not_found() -> None:
    index = ChunkIndex()
    assert index.places(ChunkId(bytes(32))) == []
    index.add(_entries(1000))
    index.compact()
    for near in (b"\0" * 32, b"\xff" * 32, *(bytes([n]) + b"\0" * 31 for n in range(256))):
        assert ChunkId(near) not in index
    assert not index.present(b"\0" * 64 + b"\xff" * 32).any()


def test_places_are_right_wherever_an_entry_stands() -> None:
    index = ChunkIndex()
    first, second, third = _entries(3)
    chunk = first[0]
    index.add([first])
    index.compact()
    index.add([(chunk, second[1])])
    assert index.places(chunk) == [second[1], first[1]]
    index.compact()
    index.add([(chunk, third[1]), (chunk, third[1]), first])
    assert index.places(chunk) == [first[1], third[1], second[1]]
    index.compact()
    index.compact()
    assert sorted(map(str, index.places(chunk))) == sorted(map(str, (first[1], second[1], third[1])))
    assert len(index) == 3


def test_ids_that_end_in_zeros_are_their_own(tmp_path: Path) -> None:
    place = Place(PACKS[0], 40, 1, packed=False)
    ids = [ChunkId(b"a" * n + b"\0" * (32 - n)) for n in range(1, 33)]
    index = ChunkIndex()
    index.add((chunk, place) for chunk in ids[::2])
    for _ in range(2):
        assert [bool(index.places(chunk)) for chunk in ids] == [True, False] * 16
        assert index.present(b"".join(ids)).tolist() == [True, False] * 16
        index.compact()
    index.add([(ids[1], place)])
    assert ids[1] in index
    assert [chunk for chunk, _ in index.entries()] == sorted({*ids[::2], ids[1]})


def test_only_in_and_present_agree_with_a_dict() -> None:
    entries = _entries(5000)
    dice = random.Random(7)
    entries += [
        (dice.choice(entries)[0], Place(dice.choice(PACKS), 50, 60, packed=True)) for _ in range(3000)
    ]
    index = ChunkIndex()
    index.add(entries[:3000])
    index.compact()
    index.add(entries[3000:])
    model: dict[ChunkId, set[PackId]] = {}
    for chunk, place in entries:
        model.setdefault(chunk, set()).add(place.pack)
    unknown = [ChunkId(dice.randbytes(32)) for _ in range(100)]
    asked = [*model, *unknown]
    for gone in (set(), {PACKS[3]}, set(PACKS[:100]), set(PACKS)):
        there = index.present(b"".join(asked), gone).tolist()
        assert there == [bool(model.get(chunk, set()) - gone) for chunk in asked]
        assert index.only_in(gone) == {chunk for chunk, packs in model.items() if packs <= gone}
    ends: dict[PackId, int] = {}
    for _, place in entries:
        ends[place.pack] = max(ends.get(place.pack, 0), place.offset + place.length)
    assert index.ends() == ends
    assert index.packs() == frozenset(ends)


def test_segments_come_back_whole_and_many_at_once(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    entries = _entries(70_000)
    keys = write_segments(store, ENVELOPE, iter(entries))
    assert len(keys) == 2
    index = ChunkIndex()
    index.add_segments(read_segment(store, ENVELOPE, key) for key in keys)
    assert list(index.entries()) == sorted(entries, key=lambda entry: entry[0])
    index.add_segments(read_segment(store, ENVELOPE, key) for key in keys)
    index.compact()
    assert len(index) == 70_000


def test_thousands_of_small_segments_keep_the_arrays_few_and_the_index_right() -> None:
    index = ChunkIndex()
    dtype = np.dtype([("id", "V32"), ("pack", "<u4"), ("offset", "<u4"), ("length", "<u4")])
    dice = random.Random(3)
    ids = [[dice.randbytes(32) for _ in range(40)] for _ in range(2000)]
    index.add_segments(
        ([PACKS[n % 200]], np.array([(chunk, 0, 40, 100) for chunk in part], dtype))
        for n, part in enumerate(ids)
    )
    assert len(index) == 80_000
    for number in range(0, 2000, 97):
        place = Place(PACKS[number % 200], 40, 100, packed=False)
        assert all(index.places(ChunkId(chunk)) == [place] for chunk in ids[number])
    assert index.present(b"".join(b"".join(part) for part in ids)).all()


def test_nothing_that_was_added_is_ever_missed_while_others_add() -> None:
    index = ChunkIndex()
    entries = _entries(60_000)
    missed: list[ChunkId] = []
    done = threading.Event()
    added = 0

    def look() -> None:
        dice = random.Random(1)
        while not done.is_set():
            upto = added
            if upto:
                some = [entries[dice.randrange(upto)][0] for _ in range(50)]
                missed.extend(chunk for chunk in some if not index.places(chunk))
                missed.extend(some if not index.present(b"".join(some)).all() else ())

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for first in range(0, len(entries), 500):
        index.add(entries[first : first + 500])
        added = first + 500
        if first % 5000 == 0:
            index.compact()
    done.set()
    for reader in readers:
        reader.join()
    assert missed == []


@pytest.mark.parametrize("at", [0, 4, 20, 60, -1])
def test_a_damaged_segment_is_refused(tmp_path: Path, at: int) -> None:
    store = LocalStore(tmp_path)
    [key] = write_segments(store, ENVELOPE, _entries(10))
    content = bytearray(store.get(key))
    content[at] ^= 1
    store.delete(key)
    store.put(key, [content])
    with pytest.raises(FormatError):
        read_segment(store, ENVELOPE, key)


@pytest.mark.parametrize(
    "plain",
    [b"", b"\1\0\0\0", b"\1\0\0\0\1\0\0\0", b"\xff" * 8, b"\0\0\0\0\1\0\0\0" + bytes(44), b"\0" * 9],
)
def test_a_segment_that_makes_no_sense_is_refused(tmp_path: Path, plain: bytes) -> None:
    store = LocalStore(tmp_path)
    sealed = ENVELOPE.seal("index", plain)
    key = f"index/{hashlib.sha256(sealed).hexdigest()}"
    store.put(key, [sealed])
    with pytest.raises(FormatError):
        read_segment(store, ENVELOPE, key)
