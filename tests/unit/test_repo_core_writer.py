"""Writing and reading restore points, against a plain array of bytes."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path

import pytest

from fixtures_repo_core import (
    CHUNK,
    DISK,
    KEY,
    STARTED,
    VM,
    back_up,
    chunks_of,
    draft,
    entry,
    faulty,
    files_of,
    fill,
    image,
    key_of,
    new_repository,
    noise,
    read_back,
)
from vbm.disk.extents import ExtentKind
from vbm.errors import InputError, NotFoundError
from vbm.ids import ZERO_CHUNK, ChunkId, DiskKey, RestorePointId, VmUuid
from vbm.objectstore.base import ObjectExistsError
from vbm.objectstore.faulty import Crashed
from vbm.objectstore.local import LocalStore
from vbm.repository.format import PACK_BYTES, FormatError
from vbm.repository.packer import ChunksNotStoredError
from vbm.repository.repository import Repository
from vbm.repository.sessions import list_sessions

BOTH = pytest.mark.parametrize("encrypted", [True, False], ids=["encrypted", "plain"])


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "repo")


@pytest.fixture
def repo(store: LocalStore) -> Repository:
    return new_repository(store)


@BOTH
@pytest.mark.parametrize("tail", [0, 512, CHUNK - 512])
def test_a_chain_of_restore_points_reads_back_as_the_disk_was(
    store: LocalStore, encrypted: bool, tail: int
) -> None:
    dice = random.Random(tail)
    repo = new_repository(store, key_of(encrypted), compression="default")
    model = bytearray(image(1, 20, tail))
    states: dict[str, bytes] = {}
    for number in range(4):
        back_up(repo, f"rp-{number}", bytes(model), base=f"rp-{number - 1}" if number else None)
        states[f"rp-{number}"] = bytes(model)
        for _ in range(6):
            start = dice.randrange(len(model))
            length = min(dice.randrange(1, 3 * CHUNK), len(model) - start)
            model[start : start + length] = bytes(length) if dice.random() < 0.3 else dice.randbytes(length)
    for opened in (repo, Repository.open(store, key_of(encrypted))):
        for point, state in states.items():
            disk = opened.disk_reader(RestorePointId(point), DISK)
            for _ in range(20):
                start = dice.randrange(len(state))
                buffer = bytearray(min(dice.randrange(1, 2 * CHUNK), len(state) - start))
                disk.readinto(start, buffer)
                assert buffer == state[start : start + len(buffer)]
            assert read_back(opened, point) == state
            for extent in disk.extents():
                if extent.kind is ExtentKind.ZERO:
                    assert not any(state[extent.start : extent.end])
            assert sum(extent.length for extent in disk.extents()) == len(state)


def test_dedup_counts_what_is_new(repo: Repository) -> None:
    data = noise(1, 3)
    with repo.writer(owner="test") as writer:
        first = [writer.put_chunk(chunk) for chunk in chunks_of(data)]
        again = [writer.put_chunk(chunk) for chunk in chunks_of(data)]
        zero = writer.put_chunk(bytearray(CHUNK))
        short = writer.put_chunk(memoryview(b"\0" * 99 + b"\1"))
    assert all(stored.is_new and CHUNK <= stored.stored_bytes <= CHUNK + 40 for stored in first)
    assert [(s.id, s.is_new, s.stored_bytes) for s in again] == [(s.id, False, 0) for s in first]
    assert (zero.id, zero.is_new, zero.stored_bytes) == (ZERO_CHUNK, False, 0)
    assert short.is_new


def test_what_does_not_shrink_is_kept_raw_and_what_does_is_compressed(repo: Repository) -> None:
    with repo.writer(owner="test") as writer:
        assert writer.put_chunk(noise(1, 1)).stored_bytes == CHUNK + 32
        assert writer.put_chunk(b"text " * 50_000).stored_bytes < 1000


@pytest.mark.parametrize("length", [1, 7, 8, 4096, CHUNK])
def test_the_caller_may_reuse_its_buffer_at_once(repo: Repository, length: int) -> None:
    content = random.Random(1).randbytes(length)
    buffer = bytearray(content)
    with repo.writer(owner="test") as writer:
        stored = writer.put_chunk(memoryview(buffer))
        buffer[:] = b"\xee" * length
        writer.checkpoint()
        assert repo.read_chunk(stored.id) == content


def test_packs_are_closed_at_their_size(store: LocalStore, repo: Repository) -> None:
    data = noise(3, PACK_BYTES // CHUNK * 2 + 3)
    back_up(repo, "rp-1", data)
    sizes = sorted(info.size_bytes for info in store.list("packs/"))
    assert len(sizes) == 3
    assert all(size < PACK_BYTES + CHUNK + 64_000 for size in sizes)
    assert read_back(repo, "rp-1") == data


def test_many_threads_store_each_chunk_once(store: LocalStore, repo: Repository) -> None:
    data = noise(4, 300)
    parts = chunks_of(data)
    stored: list[int] = []
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(len(data))

        def work(seed: int) -> None:
            order = list(range(len(parts)))
            random.Random(seed).shuffle(order)
            for index in order:
                found = writer.put_chunk(parts[index])
                map_.set(index, found.id)
                stored.append(found.is_new)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.put_map(entry(len(data)), map_)
        writer.commit(draft("rp-1"))
    assert sum(stored) == len(parts)
    assert read_back(Repository.open(store, KEY), "rp-1") == data
    assert sum(info.size_bytes for info in store.list("packs/")) < len(data) * 1.01


def test_two_writers_of_one_repository_at_once(repo: Repository) -> None:
    one, two = noise(1, 4), noise(1, 2) + noise(2, 2)
    with repo.writer(owner="one") as first, repo.writer(owner="two") as second:
        maps = [first.new_map(len(one)), second.new_map(len(two))]
        fill(second, maps[1], two)
        fill(first, maps[0], one)
        first.put_map(entry(len(one)), maps[0])
        second.put_map(entry(len(two)), maps[1])
        assert len(list_sessions(repo.store, repo.envelope)) == 2
        first.commit(draft("rp-1"))
        second.commit(draft("rp-2"))
    assert read_back(repo, "rp-1") == one
    assert read_back(repo, "rp-2") == two
    assert list_sessions(repo.store, repo.envelope) == []


def test_a_repository_opened_before_reads_what_was_written_since(store: LocalStore, repo: Repository) -> None:
    early = Repository.open(store, KEY)
    data = noise(1, 3)
    back_up(repo, "rp-1", data)
    assert read_back(early, "rp-1") == data


def test_an_abort_leaves_nothing_visible(store: LocalStore, repo: Repository) -> None:
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(CHUNK)
        fill(writer, map_, noise(1, 1))
        writer.put_map(entry(CHUNK), map_)
        writer.put_file("vm.vmx", b"x")
    assert [info.key.partition("/")[0] for info in store.list()] in (["config", "keys"], ["keys", "config"])
    assert not list(store.root.glob(".tmp-*"))
    writer.abort()
    with pytest.raises(ChunksNotStoredError):
        writer.put_chunk(noise(2, 1))


def test_after_a_crash_what_was_checkpointed_is_adopted(tmp_path: Path) -> None:
    store = faulty(tmp_path)
    repo = new_repository(store)
    data = noise(1, 6)
    writer = repo.writer(owner="test")
    early = [writer.put_chunk(chunk).id for chunk in chunks_of(data)[:3]]
    writer.checkpoint()
    late = [writer.put_chunk(chunk).id for chunk in chunks_of(data)[3:]]
    store.on("put", "packs/*").crash()
    with pytest.raises(Crashed):
        writer.checkpoint()
    store.clear()
    store.revive()
    again = Repository.open(store, KEY)
    with again.writer(owner="test") as resumed:
        assert resumed.adopt([*early, *late, ChunkId(b"x" * 32)]) == set(early)
        assert resumed.adopt([ZERO_CHUNK]) == {ZERO_CHUNK}
        map_ = resumed.new_map(len(data))
        for index, chunk in enumerate(early):
            map_.set(index, chunk)
        for index, part in enumerate(chunks_of(data)[3:]):
            map_.set(index + 3, resumed.put_chunk(part).id)
        resumed.put_map(entry(len(data)), map_)
        resumed.commit(draft("rp-1"))
    assert read_back(again, "rp-1") == data
    writer.abort()


@pytest.mark.parametrize("crash_at", ["*disk-2000.map", "*manifest.json", "*vm.vmx"])
def test_a_commit_that_crashed_can_be_done_again_under_the_same_id(tmp_path: Path, crash_at: str) -> None:
    store = faulty(tmp_path)
    repo = new_repository(store)
    data = noise(1, 3)

    def commit(opened: Repository, vmx: bytes) -> None:
        with opened.writer(owner="test") as writer:
            map_ = writer.new_map(len(data))
            fill(writer, map_, data)
            writer.put_file("vm.vmx", vmx)
            writer.put_file("vm.nvram", b"nvram")
            writer.put_map(entry(len(data)), map_)
            writer.commit(draft("rp-1"))

    rule = store.on("put", crash_at).once()
    rule.crash() if crash_at.endswith(".json") else rule.crash_after()
    with pytest.raises(Crashed):
        commit(repo, b"before the crash")
    store.revive()
    again = Repository.open(store, KEY)
    assert list(again.restore_points()) == []
    commit(again, b"after the crash")
    assert read_back(again, "rp-1") == data
    assert again.read_file(RestorePointId("rp-1"), "vm.vmx") == b"after the crash"
    assert again.read_file(RestorePointId("rp-1"), "vm.nvram") == b"nvram"


def test_a_restore_point_is_never_overwritten(repo: Repository) -> None:
    back_up(repo, "rp-1", noise(1, 2))
    with pytest.raises(ObjectExistsError):
        back_up(repo, "rp-1", noise(2, 2))
    assert read_back(repo, "rp-1") == noise(1, 2)


def test_the_manifest_has_exactly_the_fields_of_the_format(store: LocalStore) -> None:
    repo = new_repository(store, key_of(False))
    data = noise(1, 2)
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(len(data))
        fill(writer, map_, data)
        writer.put_file("vm.vmx", b"x")
        writer.put_map(entry(len(data)), map_)
        writer.commit(draft("rp-1", config={"memory_mb": 4096}, job_id="job-1", notes=("n",)))
    document = json.loads((store.root / f"restore-points/{VM}/rp-1/manifest.json").read_bytes())
    assert {*document} == {
        *("format", "restore_point_id", "job_id", "run_id", "vm_name", "vm_moref", "vm_instance_uuid"),
        *("vcenter", "started", "finished", "snapshot", "consistency", "read_mode", "parent", "transport"),
        *("bytes", "config", "excluded_disks", "notes", "files", "integrity"),
    }
    assert document["started"] == "2026-03-01T22:00:00Z"
    assert {*document["bytes"]} == {"read", "changed", "audited", "new", "zero"}
    vmx, disk = document["files"]
    assert {*vmx} == {"path", "size_bytes", "sha256"}
    assert {*disk} == {
        *("path", "size_bytes", "sha256", "disk_key", "disk_uuid", "capacity_bytes", "change_id"),
        *("map_sha256", "label", "read_mode"),
    }
    assert disk["sha256"] is None
    assert disk["capacity_bytes"] == len(data)


def test_listing_goes_by_vm_and_time_and_finding_names_the_nearest(repo: Repository) -> None:
    other = VmUuid("0aaa0000-0000-1111-2222-333344445555")
    for point in ("20260302T1-b", "20260301T1-a", "20260303T1-c"):
        back_up(repo, point, noise(1, 1))
    with repo.writer(owner="test") as writer:
        writer.commit(draft("20260301T2-d", vm_instance_uuid=other))
    assert [m.restore_point_id for m in repo.restore_points(VM)] == [
        "20260301T1-a",
        "20260302T1-b",
        "20260303T1-c",
    ]
    assert next(m.restore_point_id for m in repo.restore_points()) == "20260301T2-d"
    found = repo.manifest(RestorePointId("20260302T1-b"))
    assert (found.vm_name, found.started, found.size_bytes) == ("web01", STARTED, CHUNK)
    with pytest.raises(NotFoundError) as caught:
        repo.manifest(RestorePointId("20260302T1-x"))
    assert "20260302T1-b" in caught.value.hint
    with pytest.raises(NotFoundError, match="no disk 2001"):
        repo.disk_map(RestorePointId("20260302T1-b"), DiskKey(2001))
    with pytest.raises(NotFoundError):
        repo.read_file(RestorePointId("20260302T1-b"), "vm.vmx")


def test_pins_stay_until_they_are_taken_off(repo: Repository) -> None:
    back_up(repo, "rp-1", noise(1, 1))
    repo.pin(RestorePointId("rp-1"))
    repo.pin(RestorePointId("rp-1"))
    assert repo.pinned() == {"rp-1"}
    repo.unpin(RestorePointId("rp-1"))
    assert repo.pinned() == frozenset()
    with pytest.raises(NotFoundError):
        repo.pin(RestorePointId("rp-2"))


@pytest.mark.parametrize("path", ["", "..", ".hidden", "a/b", "/etc/passwd", "a b", "a" * 200, "é"])
def test_names_that_are_no_names_are_refused(repo: Repository, path: str) -> None:
    with repo.writer(owner="test") as writer:
        with pytest.raises(InputError):
            writer.put_file(path, b"x")
        map_ = writer.new_map(CHUNK)
        from dataclasses import replace

        with pytest.raises(InputError):
            writer.put_map(replace(entry(CHUNK), path=path), map_)
        with pytest.raises(InputError):
            writer.commit(draft(path or "."))


def test_a_name_is_used_once(repo: Repository) -> None:
    with repo.writer(owner="test") as writer:
        writer.put_file("a", b"x")
        with pytest.raises(InputError):
            writer.put_file("a", b"x")
        map_ = writer.new_map(CHUNK)
        writer.put_map(entry(CHUNK), map_)
        with pytest.raises(InputError):
            writer.put_map(entry(CHUNK), map_)


def test_maps_are_held_to_their_disk(repo: Repository) -> None:
    back_up(repo, "rp-1", noise(1, 2))
    base = repo.disk_map(RestorePointId("rp-1"), DISK)
    with repo.writer(owner="test") as writer:
        for capacity in (CHUNK, 0, -1, 1 << 60):
            with pytest.raises(InputError):
                writer.new_map(capacity, base if capacity == CHUNK else None)
        map_ = writer.new_map(2 * CHUNK)
        for index in (-1, 2):
            with pytest.raises(InputError):
                map_.set(index, ChunkId(bytes(32)))
        with pytest.raises(InputError):
            map_.set(0, ChunkId(b"short"))
    disk = repo.disk_reader(RestorePointId("rp-1"), DISK)
    for offset, length in ((-1, 1), (2 * CHUNK, 1), (0, 2 * CHUNK + 1)):
        with pytest.raises(InputError):
            disk.readinto(offset, bytearray(length))


def test_a_damaged_index_segment_is_passed_over_and_told(store: LocalStore, repo: Repository) -> None:
    back_up(repo, "rp-1", noise(1, 2))
    [segment] = files_of(store, "index/")
    segment.write_bytes(segment.read_bytes()[:-1])
    again = Repository.open(store, KEY)
    assert [*again.damaged_segments] == [f"index/{segment.name}"]
    assert isinstance(next(iter(again.damaged_segments.values())), FormatError)
    back_up(again, "rp-2", noise(1, 2))
    assert read_back(again, "rp-1") == noise(1, 2)


def test_segments_that_a_collection_replaces_while_they_are_read_are_read_in_their_new_form(
    tmp_path: Path,
) -> None:
    store = faulty(tmp_path)
    repo = new_repository(store)
    back_up(repo, "rp-1", noise(1, 2))
    [old] = [info.key for info in store.list("index/")]

    def replace_it() -> None:
        from vbm.repository.index import write_segments

        write_segments(store.inner, repo.envelope, repo.index.entries())
        store.inner.delete(old)

    store.on("get", old).once().call(replace_it)
    again = Repository.open(store, KEY)
    assert again.damaged_segments == {}
    assert read_back(again, "rp-1") == noise(1, 2)
