"""What is written is read back: packs, index, disk maps, manifests, sealed objects, whole disks."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures_repo_core import CHUNK, draft
from vbm.disk.extents import ExtentKind
from vbm.ids import ZERO_CHUNK, ChangeId, ChunkId, DiskKey, PackId, SessionId
from vbm.objectstore.local import LocalStore
from vbm.repository.chunks import ChunkReader, StoredDisk
from vbm.repository.disk_map import SEGMENT_IDS, DiskMap, MapBuilder, SpooledMap, checksum
from vbm.repository.envelope import Envelope
from vbm.repository.index import ChunkIndex, Entry, read_segment, write_segments
from vbm.repository.manifest import ByteCounts, FileEntry, Manifest
from vbm.repository.pack import PackWriter, Place, is_intact, open_chunk, read_chunks, read_header, read_table

ENVELOPES = st.sampled_from([Envelope(b"m" * 32), Envelope(None)])
IDS = st.binary(min_size=32, max_size=32).map(ChunkId)
FEW = settings(max_examples=40)


@contextmanager
def _store() -> Iterator[LocalStore]:
    with tempfile.TemporaryDirectory() as folder:
        yield LocalStore(Path(folder))


@FEW
@given(ENVELOPES, st.lists(st.tuples(st.binary(max_size=2000), st.booleans()), max_size=20))
def test_packs(envelope: Envelope, contents: list[tuple[bytes, bool]]) -> None:
    import zstandard

    with _store() as store:
        writer = PackWriter(store, envelope, SessionId("20260101T000000000-aaaaaaaaaa"))
        chunks = [(envelope.chunk_id(data), data, packed) for data, packed in contents]
        for chunk, data, packed in chunks:
            writer.add(chunk, zstandard.compress(data) if packed else data, packed)
        places = writer.finish()
        assert [chunk for chunk, _ in places] == [chunk for chunk, _, _ in chunks]
        [info] = store.list("packs/")
        pack = PackId(info.key.rpartition("/")[2])
        stored = store.get(info.key)
        assert is_intact(pack, stored)
        assert read_header(store, pack) == "20260101T000000000-aaaaaaaaaa"
        assert read_table(store, envelope, pack) == places
        for (chunk, place), (_, data, _) in zip(places, chunks, strict=True):
            piece = store.get_range(info.key, place.offset, place.length)
            assert open_chunk(envelope, chunk, place, piece) == data
        assert [data for _, data in read_chunks(envelope, stored, places)] == [data for _, data, _ in chunks]


PLACES = st.builds(
    Place,
    st.integers(0, 20).map(lambda n: PackId(f"{n:064x}")),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**31 - 1),
    st.booleans(),
)
ENTRIES = st.lists(st.tuples(IDS | st.sampled_from([ChunkId(bytes([n] * 32)) for n in range(5)]), PLACES))


@FEW
@given(ENVELOPES, st.lists(ENTRIES, max_size=4), st.booleans())
def test_the_index(envelope: Envelope, parts: list[list[Entry]], compact: bool) -> None:
    with _store() as store:
        index = ChunkIndex()
        model: dict[ChunkId, set[Place]] = {}
        for number, part in enumerate(parts):
            if number % 2:
                index.add(part)
            else:
                keys = write_segments(store, envelope, part)
                index.add_segments(read_segment(store, envelope, key) for key in keys)
            if compact:
                index.compact()
            for chunk, place in part:
                model.setdefault(chunk, set()).add(place)
        for chunk, places in model.items():
            assert set(index.places(chunk)) == places
            assert len(index.places(chunk)) == len(places)
        assert {*index.entries()} == {(chunk, place) for chunk, places in model.items() for place in places}
        if model:
            assert index.present(b"".join(model)).all()


@FEW
@given(ENVELOPES, st.data())
def test_disk_maps(envelope: Envelope, data: st.DataObject) -> None:
    capacity = data.draw(st.integers(1, 3 * SEGMENT_IDS * CHUNK))
    count = -(-capacity // CHUNK)
    indexes = st.integers(0, count - 1)
    layers = data.draw(st.lists(st.dictionaries(indexes, IDS | st.just(ZERO_CHUNK), max_size=30), max_size=3))
    model = {}
    with _store() as store:
        base = None
        for number, layer in enumerate([*layers, {}]):
            model.update(layer)
            builder = MapBuilder(capacity, CHUNK, base)
            for index, chunk in layer.items():
                builder.set(index, chunk)
            assert all(builder.get(index) == chunk for index, chunk in model.items())
            key = f"maps/{number}"
            spooled = SpooledMap(builder, envelope, key)
            store.put(key, spooled)
            assert spooled.sha256 == checksum(store, key)
            assert spooled.size_bytes == store.size(key)
            spooled.close()
            builder.close()
            base = DiskMap(store, envelope, key)
        assert base is not None
        assert (base.capacity_bytes, base.chunk_size_bytes, base.count) == (capacity, CHUNK, count)
        used = {index: chunk for index, chunk in model.items() if chunk != ZERO_CHUNK}
        assert dict(base.used()) == used
        first = data.draw(indexes)
        length = data.draw(st.integers(0, count - first))
        wanted = b"".join(used.get(index, ZERO_CHUNK) for index in range(first, first + length))
        assert base.ids(first, length) == wanted
        extents = list(StoredDisk(base, ChunkReader(store, envelope, ChunkIndex())).extents())
        assert extents[0].start == 0
        assert extents[-1].end == capacity
        assert all(a.end == b.start and a.kind is not b.kind for a, b in itertools.pairwise(extents))
        for extent in extents:
            inside = extent.start // CHUNK
            assert (inside in used) == (extent.kind is ExtentKind.DATA)


TEXT = st.text(max_size=30)
COUNTS = st.integers(0, 2**63)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
TIMES = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)).map(  # noqa: DTZ001 - made aware below
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
)


@FEW
@given(TEXT, TEXT, COUNTS, st.dictionaries(TEXT, JSON, max_size=4), st.lists(TEXT, max_size=3), TIMES)
def test_manifests(
    name: str, label: str, count: int, config: dict[str, object], notes: list[str], moment: datetime
) -> None:
    files = (
        FileEntry("vm.vmx", 3, "ab" * 32),
        FileEntry(
            path="disk-2000.map",
            size_bytes=count,
            disk_key=DiskKey(2000),
            disk_uuid=name,
            capacity_bytes=count,
            change_id=ChangeId(label) if label else None,
            map_sha256="cd" * 32,
            label=label,
            read_mode="full",
        ),
    )
    known = draft("rp-1", vm_name=name, config=config, notes=tuple(notes), started=moment)
    known = replace(known, bytes=ByteCounts(read=count), excluded_disks=({"key": 2001},))
    values = {field: getattr(known, field) for field in known.__dataclass_fields__}
    manifest = Manifest(**values, files=files)
    assert Manifest.from_json(manifest.to_json(), "key") == manifest


@given(ENVELOPES, st.binary(max_size=5000), st.text(max_size=50))
def test_sealed_objects(envelope: Envelope, content: bytes, name: str) -> None:
    assert envelope.open(name, envelope.seal(name, content)) == content
    assert envelope.open(name, envelope.seal(name, memoryview(content))) == content
