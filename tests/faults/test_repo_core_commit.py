"""A restore point is committed only where everything it relies on is in the repository, and will stay there."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fixtures_repo_core import (
    CHUNK,
    DISK,
    KEY,
    back_up,
    chunks_of,
    draft,
    entry,
    faulty,
    files_of,
    fill,
    flip,
    key_of,
    new_repository,
    noise,
    read_back,
)
from vbm.errors import DamagedError
from vbm.ids import ChunkId, PackId, RestorePointId
from vbm.objectstore.faulty import FaultyStore
from vbm.objectstore.local import LocalStore
from vbm.repository.condemned import Condemned, read_condemned, write_condemned
from vbm.repository.damage import damaged_chunks, record_damaged
from vbm.repository.format import FormatError
from vbm.repository.packer import ChunksNotStoredError
from vbm.repository.reliance import ChunksLostError
from vbm.repository.repository import Repository
from vbm.repository.sessions import SessionLostError, drop_session


@pytest.fixture
def store(tmp_path: Path) -> FaultyStore:
    return faulty(tmp_path / "repo")


@pytest.fixture
def repo(store: FaultyStore) -> Repository:
    return new_repository(store)


def _packs(repo: Repository) -> set[PackId]:
    return {PackId(info.key.rpartition("/")[2]) for info in repo.store.list("packs/")}


def _delete_packs(repo: Repository) -> None:
    for info in list(repo.store.list("packs/")):
        repo.store.delete(info.key)


def test_a_map_that_names_a_chunk_of_no_pack_is_refused(repo: Repository) -> None:
    data = noise(1, 4)
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(len(data))
        fill(writer, map_, data)
        map_.set(1, ChunkId(b"\7" * 32))
        map_.set(2, ChunkId(b"\7" * 32))
        writer.put_map(entry(len(data)), map_)
        with pytest.raises(ChunksLostError, match=rf"Hard disk 1.* {CHUNK} to {3 * CHUNK} \(2 missing"):
            writer.commit(draft("rp-1"))
    assert list(repo.restore_points()) == []


def test_one_missing_chunk_far_into_a_large_disk_is_found(repo: Repository) -> None:
    count = 3 * 65536 + 5
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(count * CHUNK)
        there = writer.put_chunk(b"there" * 1000).id
        for index in range(0, count, 4096):
            map_.set(index, there)
        map_.set(count - 1, ChunkId(b"\0" * 31 + b"\1"))
        writer.put_map(entry(count * CHUNK), map_)
        with pytest.raises(ChunksLostError) as caught:
            writer.commit(draft("rp-1"))
    assert caught.value.context["start"] == (count - 1) * CHUNK
    assert caught.value.context["chunks"] == 1


def test_a_pack_deleted_before_the_commit_is_missed(repo: Repository) -> None:
    data = noise(1, 4)
    back_up(repo, "rp-1", data)
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(len(data))
        assert not any(writer.put_chunk(chunk).is_new for chunk in chunks_of(data))
        fill(writer, map_, data)
        writer.put_map(entry(len(data)), map_)
        _delete_packs(repo)
        with pytest.raises(ChunksLostError):
            writer.commit(draft("rp-2"))
    assert [point.restore_point_id for point in repo.restore_points()] == ["rp-1"]


def test_chunks_inherited_from_a_base_are_held_against_the_packs_too(repo: Repository) -> None:
    data = noise(1, 4)
    back_up(repo, "rp-1", data)
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(len(data), repo.disk_map(RestorePointId("rp-1"), DISK))
        map_.set(2, writer.put_chunk(noise(9, 1)).id)
        writer.put_map(entry(len(data)), map_)
        _delete_packs(repo)
        with pytest.raises(ChunksLostError, match=f"0 to {2 * CHUNK} .3 missing"):
            writer.commit(draft("rp-2"))


def test_a_pack_cut_short_is_no_pack_and_its_chunks_are_stored_anew(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    data = noise(1, 4)
    back_up(new_repository(store), "rp-1", data)
    [pack] = files_of(store, "packs/")
    with pack.open("r+b") as file:
        file.truncate(2 * CHUNK)
    repo = Repository.open(store, KEY)
    back_up(repo, "rp-2", data)
    assert read_back(Repository.open(store, KEY), "rp-1") == data


def test_a_missing_pack_is_healed_by_the_next_backup(repo: Repository) -> None:
    data = noise(1, 4)
    back_up(repo, "rp-1", data)
    _delete_packs(repo)
    with pytest.raises(DamagedError):
        read_back(repo, "rp-1")
    again = Repository.open(repo.store, KEY)
    back_up(again, "rp-2", data)
    assert read_back(again, "rp-1") == data


def test_a_chunk_recorded_as_damaged_is_stored_anew_and_the_record_goes(repo: Repository) -> None:
    data = noise(1, 4)
    back_up(repo, "rp-1", data)
    bad = repo.disk_map(RestorePointId("rp-1"), DISK).id(2)
    record_damaged(repo.store, [bad, bad])
    record_damaged(repo.store, [bad])
    assert damaged_chunks(repo.store) == {bad}
    with repo.writer(owner="test") as writer:
        assert writer.adopt([bad]) == set()
        assert [writer.put_chunk(chunk).is_new for chunk in chunks_of(data)] == [False, False, True, False]
        assert damaged_chunks(repo.store) == {bad}
        map_ = writer.new_map(len(data))
        fill(writer, map_, data)
        writer.put_map(entry(len(data)), map_)
        writer.commit(draft("rp-2"))
    assert damaged_chunks(repo.store) == set()


def test_a_base_may_not_hand_down_a_chunk_known_to_be_damaged(repo: Repository) -> None:
    data = noise(1, 4)
    back_up(repo, "rp-1", data)
    base = repo.disk_map(RestorePointId("rp-1"), DISK)
    record_damaged(repo.store, [base.id(1)])
    with repo.writer(owner="test") as writer:
        writer.put_map(entry(len(data)), writer.new_map(len(data), base))
        with pytest.raises(ChunksLostError):
            writer.commit(draft("rp-2"))


def test_a_bad_copy_does_not_hide_a_good_one(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    repo = new_repository(store)
    data = noise(1, 2)
    back_up(repo, "rp-1", data)
    [pack] = files_of(store, "packs/")
    flip(pack, 1000)
    with pytest.raises(FormatError):
        read_back(repo, "rp-1")
    record_damaged(store, [repo.disk_map(RestorePointId("rp-1"), DISK).id(0)])
    back_up(repo, "rp-2", data)
    for opened in (repo, Repository.open(store, KEY)):
        assert read_back(opened, "rp-1") == data


# --- condemned packs


def _condemn(repo: Repository, packs: set[PackId], name: str = "20260301-1") -> None:
    write_condemned(repo.store, repo.envelope, Condemned(name, "2026-03-01T00:00:00Z", tuple(sorted(packs))))


def test_chunks_of_condemned_packs_are_stored_anew(repo: Repository) -> None:
    data = noise(1, 3)
    back_up(repo, "rp-1", data)
    old = _packs(repo)
    _condemn(repo, old)
    back_up(repo, "rp-2", data)
    for pack in old:
        repo.store.delete(f"packs/{pack[:2]}/{pack}")
    assert read_back(Repository.open(repo.store, KEY), "rp-2") == data


def test_packs_condemned_during_the_backup_are_rescued_at_commit(repo: Repository) -> None:
    data = noise(1, 6)
    back_up(repo, "rp-1", data)
    old = _packs(repo)
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(len(data), repo.disk_map(RestorePointId("rp-1"), DISK))
        fill(writer, map_, data[: 2 * CHUNK])
        writer.put_map(entry(len(data)), map_)
        _condemn(repo, old)
        writer.commit(draft("rp-2"))
    for pack in old:
        repo.store.delete(f"packs/{pack[:2]}/{pack}")
    again = Repository.open(repo.store, KEY)
    assert read_back(again, "rp-2") == data
    assert read_back(again, "rp-1") == data


def test_a_condemned_pack_that_is_gone_already_fails_the_commit(repo: Repository) -> None:
    data = noise(1, 3)
    back_up(repo, "rp-1", data)
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(len(data))
        fill(writer, map_, data)
        writer.put_map(entry(len(data)), map_)
        _condemn(repo, _packs(repo))
        _delete_packs(repo)
        with pytest.raises(ChunksLostError):
            writer.commit(draft("rp-2"))


def test_at_commit_the_order_is_condemned_then_packs_then_session_then_manifest(
    repo: Repository, store: FaultyStore
) -> None:
    data = noise(1, 2)
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(len(data))
        fill(writer, map_, data)
        writer.put_map(entry(len(data)), map_)
        writer.put_file("vm.vmx", b"x")
        store.calls.clear()
        writer.commit(draft("rp-1"))
    made = [(call.method, call.key.partition("/")[0]) for call in store.calls]
    steps = [
        ("put", "packs"),
        ("put", "index"),
        ("put", "restore-points"),
        ("list", "condemned"),
        ("list", "packs"),
        ("size", "sessions"),
    ]
    at = [made.index(step) for step in steps]
    assert at == sorted(at)
    puts = store.keys_of("put")
    assert puts[-1].endswith("/manifest.json")
    assert [key.rpartition("/")[2] for key in puts[2:]] == ["vm.vmx", "disk-2000.map", "manifest.json"]
    assert made[at[-1] + 1] == ("put", "restore-points")


def test_a_record_damaged_in_one_copy_is_read_from_the_other(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    repo = new_repository(store)
    _condemn(repo, {PackId("ab" * 32)})
    [record] = files_of(store, "condemned/")
    for at in (10, -10):
        whole = record.read_bytes()
        flip(record, at)
        assert [found.packs for found in read_condemned(store, repo.envelope)] == [("ab" * 32,)]
        record.write_bytes(whole)


@pytest.mark.parametrize("ruined", [b"", b"garbage", b"VBM1\0" + bytes(100)])
@pytest.mark.parametrize("encrypted", [True, False])
def test_with_an_unreadable_record_a_backup_relies_on_nothing_but_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ruined: bytes, encrypted: bool
) -> None:
    store = LocalStore(tmp_path)
    repo = new_repository(store, key_of(encrypted))
    data = noise(1, 4)
    back_up(repo, "rp-1", data)
    old = _packs(repo)
    store.put("condemned/20260301-1", [ruined])
    with pytest.raises(FormatError):
        read_condemned(store, repo.envelope)
    with caplog.at_level(logging.WARNING):
        manifest = back_up(repo, "rp-2", data, base="rp-1")
    assert "condemned" in caplog.text
    assert manifest.disks[0].capacity_bytes == len(data)
    for pack in old:
        store.delete(f"packs/{pack[:2]}/{pack}")
    assert read_back(Repository.open(store, key_of(encrypted)), "rp-2") == data


def test_a_record_that_becomes_unreadable_during_the_backup_is_minded_at_commit(repo: Repository) -> None:
    data = noise(1, 4)
    back_up(repo, "rp-1", data)
    old = _packs(repo)
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(len(data), repo.disk_map(RestorePointId("rp-1"), DISK))
        map_.set(0, writer.put_chunk(noise(2, 1)).id)
        writer.put_map(entry(len(data)), map_)
        repo.store.put("condemned/1", [b"garbage"])
        writer.commit(draft("rp-2"))
    for pack in old:
        repo.store.delete(f"packs/{pack[:2]}/{pack}")
    assert read_back(Repository.open(repo.store, KEY), "rp-2") == noise(2, 1) + data[CHUNK:]


# --- the session


def test_a_session_that_was_dropped_commits_nothing(repo: Repository) -> None:
    data = noise(1, 2)
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(len(data))
        fill(writer, map_, data)
        writer.put_map(entry(len(data)), map_)
        drop_session(repo.store, writer.session_id)
        with pytest.raises(SessionLostError):
            writer.commit(draft("rp-1"))
    assert list(repo.restore_points()) == []


def test_after_a_chunk_was_lost_nothing_can_be_committed(repo: Repository, store: FaultyStore) -> None:
    data = noise(1, 2)
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(len(data))
        fill(writer, map_, data)
        store.on("put", "packs/*").once().full()
        with pytest.raises(Exception, match="no space left"):
            writer.checkpoint()
        writer.put_map(entry(len(data)), map_)
        with pytest.raises(ChunksNotStoredError):
            writer.commit(draft("rp-1"))
    assert list(repo.restore_points()) == []
    back_up(repo, "rp-1", data)
    assert read_back(repo, "rp-1") == data


def test_an_index_segment_that_could_not_be_written_is_written_later(
    repo: Repository, store: FaultyStore
) -> None:
    data = noise(1, 2)
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(len(data))
        fill(writer, map_, data)
        store.on("put", "index/*").once().fail()
        with pytest.raises(Exception, match="does not answer"):
            writer.checkpoint()
        writer.put_map(entry(len(data)), map_)
        writer.commit(draft("rp-1"))
    assert read_back(Repository.open(store, KEY), "rp-1") == data
