"""What is altered, cut short or put in another's place does not open, with a key and without."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from fixtures_repo_core import (
    CHUNK,
    DISK,
    VM,
    back_up,
    draft,
    entry,
    files_of,
    fill,
    flip,
    image,
    key_of,
    new_repository,
    noise,
    read_back,
)
from vbm.errors import DamagedError, NotFoundError, VbmError
from vbm.ids import RestorePointId, SessionId
from vbm.objectstore.local import LocalStore
from vbm.repository.disk_map import SEGMENT_IDS
from vbm.repository.envelope import Envelope, unpacked
from vbm.repository.format import FormatError
from vbm.repository.pack import PackWriter, read_table
from vbm.repository.repository import DamagedRestorePoint, Repository

KEYED, PLAIN = Envelope(b"m" * 32), Envelope(None)
BOTH = pytest.mark.parametrize("encrypted", [True, False], ids=["encrypted", "plain"])


# --- the envelope


@given(st.binary(max_size=300), st.sampled_from([KEYED, PLAIN]), st.data())
def test_one_flipped_bit_anywhere_is_noticed(content: bytes, envelope: Envelope, data: st.DataObject) -> None:
    sealed = bytearray(envelope.seal("a/b", content))
    at = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[at >> 3] ^= 1 << (at & 7)
    with pytest.raises(FormatError):
        envelope.open("a/b", bytes(sealed))


@given(st.binary(max_size=300), st.sampled_from([KEYED, PLAIN]), st.data())
def test_what_is_cut_short_or_longer_is_noticed(
    content: bytes, envelope: Envelope, data: st.DataObject
) -> None:
    sealed = envelope.seal("a/b", content)
    with pytest.raises(FormatError):
        envelope.open("a/b", sealed[: data.draw(st.integers(0, len(sealed) - 1))])
    with pytest.raises(FormatError):
        envelope.open("a/b", sealed + data.draw(st.binary(min_size=1, max_size=20)))


@pytest.mark.parametrize("envelope", [KEYED, PLAIN], ids=["encrypted", "plain"])
@pytest.mark.parametrize("content", [b"", b"x", b"compresses " * 100])
def test_an_object_under_another_name_does_not_open(envelope: Envelope, content: bytes) -> None:
    sealed = envelope.seal("restore-points/a/disk.map segment 1", content)
    assert envelope.open("restore-points/a/disk.map segment 1", sealed) == content
    for name in ("restore-points/a/disk.map segment 2", "restore-points/a/disk.map", ""):
        with pytest.raises(FormatError):
            envelope.open(name, sealed)


def test_one_repository_opens_nothing_of_another() -> None:
    sealed = [envelope.seal("a", b"x") for envelope in (KEYED, PLAIN, Envelope(b"n" * 32))]
    for number, envelope in enumerate((KEYED, PLAIN, Envelope(b"n" * 32))):
        for other, bytes_ in enumerate(sealed):
            if other != number:
                with pytest.raises(FormatError):
                    envelope.open("a", bytes_)


def test_the_same_content_is_sealed_differently_each_time_and_ids_depend_on_the_key() -> None:
    assert len({KEYED.seal("a", b"x") for _ in range(20)}) == 20
    ids = {envelope.chunk_id(b"x") for envelope in (KEYED, PLAIN, Envelope(b"n" * 32))}
    assert len(ids) == 3
    assert PLAIN.chunk_id(b"x") == hashlib.sha256(b"x").digest()


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 28))
    assert len(bomb) < 50_000
    with pytest.raises(FormatError, match="claims to hold"):
        unpacked("x", bomb, 4 << 20)
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1000))
    for hostile in (unsized, b"", b"\x28\xb5\x2f\xfd", bytes(100), bomb[:20]):
        with pytest.raises(FormatError):
            unpacked("x", hostile, 4 << 20)


# --- objects of a repository


def _damages(size: int) -> list[int]:
    dice = random.Random(size)
    return sorted({0, 5, size // 2, size - 1, *(dice.randrange(size) for _ in range(5))})


@BOTH
@pytest.mark.parametrize("part", ["packs/", "restore-points/", "index/"])
def test_no_altered_object_yields_wrong_bytes(tmp_path: Path, encrypted: bool, part: str) -> None:
    store = LocalStore(tmp_path)
    key = key_of(encrypted)
    data = image(5, 6, tail=1000)
    repo = new_repository(store, key)
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(len(data))
        fill(writer, map_, data)
        writer.put_map(entry(len(data)), map_)
        writer.put_file("vm.vmx", b'displayName = "web01"\n' * 20)
        writer.commit(draft("rp-1"))
    noticed = harmless = 0
    for path in files_of(store, part):
        whole = path.read_bytes()
        for at in _damages(len(whole)):
            flip(path, at)
            try:
                opened = Repository.open(store, key)
                right = read_back(opened, "rp-1") == data
                right &= opened.read_file(RestorePointId("rp-1"), "vm.vmx").startswith(b"displayName")
                right &= opened.manifest(RestorePointId("rp-1")).vm_name == "web01"
                assert right
                harmless += 1
            except VbmError as error:
                assert isinstance(error, DamagedError | NotFoundError)  # noqa: PT017
                noticed += 1
            path.unlink()
            path.write_bytes(whole)
    assert noticed > harmless / 2  # a pack's header, table and trailer are not needed to read


def _two_points(store: LocalStore, encrypted: bool) -> Repository:
    repo = new_repository(store, key_of(encrypted))
    for point, seed in (("rp-1", 1), ("rp-2", 2)):
        back_up(repo, point, noise(seed, 3))
    return repo


def _swap(one: Path, two: Path) -> None:
    first, second = one.read_bytes(), two.read_bytes()
    one.unlink()
    two.unlink()
    one.write_bytes(second)
    two.write_bytes(first)


@BOTH
def test_swapped_disk_maps_are_noticed(tmp_path: Path, encrypted: bool) -> None:
    store = LocalStore(tmp_path)
    _two_points(store, encrypted)
    _swap(*(path for path in files_of(store, "restore-points/") if path.suffix == ".map"))
    repo = Repository.open(store, key_of(encrypted))
    for point in ("rp-1", "rp-2"):
        with pytest.raises(FormatError):
            read_back(repo, point)


@BOTH
def test_swapped_manifests_are_noticed(tmp_path: Path, encrypted: bool) -> None:
    store = LocalStore(tmp_path)
    _two_points(store, encrypted)
    _swap(*(path for path in files_of(store, "restore-points/") if path.name == "manifest.json"))
    found = list(Repository.open(store, key_of(encrypted)).scan())
    assert [type(point) for point in found] == [DamagedRestorePoint, DamagedRestorePoint]
    assert [point.id for point in found if isinstance(point, DamagedRestorePoint)] == ["rp-1", "rp-2"]


@BOTH
def test_swapped_files_of_a_restore_point_are_noticed(tmp_path: Path, encrypted: bool) -> None:
    store = LocalStore(tmp_path)
    repo = new_repository(store, key_of(encrypted))
    with repo.writer(owner="test") as writer:
        writer.put_file("a.vmx", b"one")
        writer.put_file("b.vmx", b"two")
        writer.commit(draft("rp-1"))
    _swap(*files_of(store, f"restore-points/{VM}/rp-1/files/"))
    with pytest.raises(FormatError):
        repo.read_file(RestorePointId("rp-1"), "a.vmx")


@BOTH
def test_swapped_segments_within_a_map_are_noticed(tmp_path: Path, encrypted: bool) -> None:
    store = LocalStore(tmp_path)
    repo = new_repository(store, key_of(encrypted))
    capacity = 2 * SEGMENT_IDS * CHUNK
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(capacity)
        for index, seed in ((0, 1), (SEGMENT_IDS, 2)):
            map_.set(index, writer.put_chunk(noise(seed, 1)).id)
        writer.put_map(entry(capacity), map_)
        writer.commit(draft("rp-1"))
    [path] = (path for path in files_of(store, "restore-points/") if path.suffix == ".map")
    content = path.read_bytes()
    end = len(content) - 16
    table = int.from_bytes(content[end : end + 8], "little")
    middle = 24 + (table - 24) // 2
    assert table - middle == middle - 24  # two segments of one length
    path.unlink()
    path.write_bytes(content[:24] + content[middle:table] + content[24:middle] + content[table:])
    map_read = Repository.open(store, key_of(encrypted)).disk_map(RestorePointId("rp-1"), DISK)
    for index in (0, SEGMENT_IDS):
        with pytest.raises(FormatError):
            map_read.id(index)


@BOTH
def test_swapped_packs_are_noticed(tmp_path: Path, encrypted: bool) -> None:
    store = LocalStore(tmp_path)
    _two_points(store, encrypted)
    _swap(*files_of(store, "packs/"))
    repo = Repository.open(store, key_of(encrypted))
    for point in ("rp-1", "rp-2"):
        with pytest.raises(FormatError):
            read_back(repo, point)


@BOTH
@pytest.mark.parametrize("size", [0, 1, 16, 40, 55, 56, 57, 100, 1000])
def test_a_pack_that_is_cut_short_has_no_table(tmp_path: Path, encrypted: bool, size: int) -> None:
    store = LocalStore(tmp_path)
    envelope = KEYED if encrypted else PLAIN
    writer = PackWriter(store, envelope, SessionId("s"))
    for number in range(20):
        content = bytes([number]) * 100
        writer.add(envelope.chunk_id(content), content, packed=False)
    [(_, place), *_] = writer.finish()
    assert len(read_table(store, envelope, place.pack)) == 20
    [path] = files_of(store)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:size])
    with pytest.raises(FormatError):
        read_table(store, envelope, place.pack)


# --- documents of hostile origin, in a repository without a key


def _altered_manifest(store: LocalStore, change: Callable[[dict[str, object]], None]) -> None:
    [path] = (path for path in files_of(store, "restore-points/") if path.name == "manifest.json")
    document = json.loads(path.read_bytes())
    document.pop("integrity")
    change(document)
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    document["integrity"] = hashlib.sha256(canonical.encode()).hexdigest()
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "change",
    [
        {"started": "yesterday"},
        {"started": 5},
        {"files": [{"path": "../../../etc/passwd", "size_bytes": 1, "sha256": None}]},
        {"files": [{"path": "a/b", "size_bytes": 1, "sha256": None}]},
        {"files": [{"path": 5, "size_bytes": 1, "sha256": None}]},
        {"files": {"path": "a"}},
        {"files": None},
        {"bytes": {"read": 1, "unknown": 2}},
        {"bytes": 5},
        {"restore_point_id": "rp-9"},
        {"vm_instance_uuid": "other"},
        {"notes": None},
    ],
)
def test_a_manifest_that_makes_no_sense_is_damaged_not_a_crash(
    tmp_path: Path, change: dict[str, object]
) -> None:
    store = LocalStore(tmp_path)
    back_up(new_repository(store, key_of(False)), "rp-1", noise(1, 1))
    _altered_manifest(store, lambda document: document.update(change))
    [found] = Repository.open(store, key_of(False)).scan()
    assert isinstance(found, DamagedRestorePoint)
    assert isinstance(found.error, FormatError)


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{}", b"[" * 100_000, b"\xff", b'{"format": 1}'])
def test_a_manifest_that_is_no_document_is_damaged(tmp_path: Path, content: bytes) -> None:
    store = LocalStore(tmp_path)
    new_repository(store, key_of(False))
    store.put(f"restore-points/{VM}/rp-1/manifest.json", [content])
    [found] = Repository.open(store, key_of(False)).scan()
    assert isinstance(found, DamagedRestorePoint)


@pytest.mark.parametrize(
    "key", ["restore-points/x", "restore-points/a/manifest.json", "restore-points/a/b/c/manifest.json"]
)
def test_stray_objects_do_not_disturb_a_listing(tmp_path: Path, key: str) -> None:
    store = LocalStore(tmp_path)
    repo = new_repository(store)
    back_up(repo, "rp-1", noise(1, 1))
    store.put(key, [b"x"])
    assert [point.restore_point_id for point in repo.restore_points()] == ["rp-1"]
    assert repo.manifest(RestorePointId("rp-1")).vm_name == "web01"
