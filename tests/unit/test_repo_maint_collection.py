"""Prune, garbage collection, repair and statistics on a virtual clock, against what was backed up."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from vbm.clock import VirtualClock
from vbm.errors import InputError, NotFoundError
from vbm.ids import DiskKey, MoRef, RestorePointId, RunId, VmUuid
from vbm.objectstore.local import LocalStore
from vbm.repository.condemned import read_condemned
from vbm.repository.gc import GcOptions, execute_gc, plan_gc
from vbm.repository.gc_state import LOCK_PREFIX, GcRunningError
from vbm.repository.keys import NoKey
from vbm.repository.manifest import DiskEntry, ManifestDraft
from vbm.repository.marks import NeedUnknownError
from vbm.repository.prune import PinnedError, execute_prune, plan_prune
from vbm.repository.repair import execute_repair, plan_repair
from vbm.repository.repository import Repository, RepositoryOptions
from vbm.repository.sessions import list_sessions, this_machine
from vbm.repository.stats import gather
from vbm.repository.writer import Writer

CHUNK = 256 * 1024
DISK = DiskKey(2000)


def chunk(seed: int) -> bytes:
    return random.Random(seed).randbytes(CHUNK)


class Store:
    """A repository with a clock of its own and what is in it, by our own account."""

    def __init__(self, path: Path) -> None:
        self.clock = VirtualClock()
        self.path = path
        self.repo = Repository.create(
            LocalStore(path), NoKey(), RepositoryOptions(chunk_size_bytes=CHUNK), clock=self.clock
        )
        self.disks: dict[str, list[int]] = {}

    def reopen(self) -> Repository:
        self.repo = Repository.open(LocalStore(self.path), NoKey(), clock=self.clock)
        return self.repo

    def fill(self, writer: Writer, name: str, seeds: list[int], vm: str = "vm-a") -> ManifestDraft:
        """Chunks and map of one restore point, ready to be committed."""
        disk = writer.new_map(len(seeds) * CHUNK)
        for index, seed in enumerate(seeds):
            if seed:
                disk.set(index, writer.put_chunk(chunk(seed)).id)
        writer.put_map(DiskEntry(DISK, "uuid", len(seeds) * CHUNK, None, "disk-2000.map"), disk)
        now = self.clock.now()
        return ManifestDraft(
            restore_point_id=RestorePointId(name),
            run_id=RunId("run"),
            vm_name=vm,
            vm_moref=MoRef("vm-1"),
            vm_instance_uuid=VmUuid(vm),
            vcenter="lab",
            started=now,
            finished=now,
            snapshot="s",
            consistency="crash",
            read_mode="full",
            transport="test",
        )

    def backup(self, name: str, seeds: list[int], vm: str = "vm-a") -> None:
        with self.repo.writer(owner=name) as writer:
            writer.commit(self.fill(writer, name, seeds, vm))
        self.disks[name] = seeds

    def drop(self, *names: str) -> None:
        execute_prune(self.repo, plan_prune(self.repo, [RestorePointId(name) for name in names]))
        for name in names:
            del self.disks[name]

    def collect(self) -> None:
        execute_gc(self.repo, plan_gc(self.repo))

    def forget_index(self, but: set[str]) -> None:
        """As if it had never been written, but for these segments."""
        for info in list(self.repo.store.list("index/")):
            if info.key not in but:
                self.repo.store.delete(info.key)
        self.reopen()

    def two_passes(self) -> None:
        self.collect()
        self.clock.advance(25 * 3600)
        self.collect()

    @property
    def packs(self) -> set[str]:
        return {info.key for info in self.repo.store.list("packs/")}

    def check(self) -> None:
        """Every restore point reads back, by a repository opened anew."""
        repo = self.reopen()
        assert {point.restore_point_id for point in repo.restore_points()} == set(self.disks)
        for name, seeds in self.disks.items():
            reader = repo.disk_reader(RestorePointId(name), DISK)
            buffer = bytearray(CHUNK)
            for index, seed in enumerate(seeds):
                reader.readinto(index * CHUNK, buffer)
                assert bytes(buffer) == (chunk(seed) if seed else bytes(CHUNK))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "repo")
    yield made
    made.repo.close()


def test_what_nothing_needs_is_condemned_and_a_day_later_deleted(store: Store) -> None:
    store.backup("one", [1, 2, 3])
    store.backup("two", [4, 5, 6])
    store.drop("one")
    first = plan_gc(store.repo)
    assert (len(first.condemn), len(first.delete)) == (1, 0)
    execute_gc(store.repo, first)
    assert len(store.packs) == 2
    store.clock.advance(23 * 3600)
    assert plan_gc(store.repo).delete == ()
    store.clock.advance(2 * 3600)
    store.collect()
    assert len(store.packs) == 1
    assert read_condemned(store.repo.store, store.repo.envelope) == []
    store.check()
    assert plan_gc(store.repo).is_empty


def test_a_dry_run_changes_nothing(store: Store) -> None:
    store.backup("one", [1, 2])
    store.backup("two", [3])
    store.drop("one")
    before = {info.key for info in store.repo.store.list()}
    plan_gc(store.repo)
    assert {info.key for info in store.repo.store.list()} == before


def test_a_condemned_chunk_is_stored_again_by_the_next_backup(store: Store) -> None:
    store.backup("one", [1, 2])
    store.backup("two", [3])
    store.drop("one")
    store.collect()
    store.reopen()
    store.backup("three", [1, 2])
    assert len(store.packs) == 3
    store.clock.advance(25 * 3600)
    store.collect()
    assert len(store.packs) == 2
    store.check()


def test_a_backup_that_began_before_a_pass_keeps_what_it_relies_on(store: Store) -> None:
    """Its base is deleted and condemned under it, and the grace passes while it is still writing."""
    store.backup("one", [1, 2])
    with store.repo.writer(owner="slow") as writer:
        draft = store.fill(writer, "slow", [1, 2, 9])
        other = Repository.open(LocalStore(store.path), NoKey(), clock=store.clock)
        execute_prune(other, plan_prune(other, [RestorePointId("one")]))
        del store.disks["one"]
        execute_gc(other, plan_gc(other))
        store.clock.advance(30 * 3600)
        writer._session.beat()
        execute_gc(other, plan_gc(other))
        writer.commit(draft)
    store.disks["slow"] = [1, 2, 9]
    store.check()
    store.two_passes()
    store.check()


def test_a_chunk_is_rescued_from_a_condemned_pack_though_its_other_pack_is_gone(store: Store) -> None:
    store.backup("one", [1, 2])
    store.drop("one")
    store.collect()  # condemns the first copy
    store.reopen()
    store.backup("two", [1, 3])
    store.drop("two")
    store.clock.advance(25 * 3600)
    store.reopen()
    with store.repo.writer(owner="slow") as writer:
        draft = store.fill(writer, "three", [1, 4])  # relies on the second copy
        beside = Repository.open(LocalStore(store.path), NoKey(), clock=store.clock)
        execute_gc(beside, plan_gc(beside))  # deletes the first, condemns the second
        assert len(read_condemned(store.repo.store, store.repo.envelope)) == 1
        writer.commit(draft)
    store.disks["three"] = [1, 4]
    store.check()


def test_packs_of_a_running_backup_are_left_alone(store: Store) -> None:
    with store.repo.writer(owner="running") as writer:
        draft = store.fill(writer, "running", [1, 2])
        writer.checkpoint()
        other = Repository.open(LocalStore(store.path), NoKey(), clock=store.clock)
        plan = plan_gc(other)
        assert (plan.condemn, len(plan.live_sessions)) == ((), 1)
        execute_gc(other, plan)
        writer.commit(draft)
    store.disks["running"] = [1, 2]
    store.two_passes()
    store.check()


def test_what_an_aborted_backup_left_is_collected(store: Store) -> None:
    store.backup("one", [1])
    with store.repo.writer(owner="gives up") as writer:
        store.fill(writer, "gone", [5, 6])
        writer.checkpoint()
    assert len(store.packs) == 2
    store.two_passes()
    assert len(store.packs) == 1
    store.check()


def test_a_pack_that_no_index_names_goes_where_others_hold_what_is_in_it(store: Store) -> None:
    store.backup("one", [1, 2])
    known = {info.key for info in store.repo.store.list("index/")}
    with store.repo.writer(owner="dies") as writer:
        for seed in (1, 2):
            writer.store_again(writer.put_chunk(chunk(seed)).id, chunk(seed))
        writer.checkpoint()
    store.forget_index(but=known)
    assert len(store.packs) == 2
    store.two_passes()
    assert len(store.packs) == 1
    store.check()
    assert not plan_gc(store.repo).has_work


def test_a_pack_that_no_index_names_and_that_is_needed_is_named_again(store: Store) -> None:
    store.backup("one", [1, 2])
    known = {info.key for info in store.repo.store.list("index/")}
    store.backup("two", [3, 4])
    store.forget_index(but=known)
    assert len(plan_gc(store.reopen()).adopt) == 1
    store.collect()
    store.check()
    assert not plan_gc(store.repo).has_work


def test_a_little_used_pack_is_copied_and_then_goes(store: Store) -> None:
    store.backup("one", [1, 2, 3, 4, 5, 6])
    store.backup("two", [1])
    store.drop("one")
    plan = plan_gc(store.repo)
    assert (len(plan.repack), len(plan.condemn)) == (1, 0)
    old = store.packs
    execute_gc(store.repo, plan)
    store.check()
    store.clock.advance(25 * 3600)
    store.collect()
    assert not store.packs & old
    assert len(store.packs) == 1
    store.check()


def test_a_dead_session_is_dropped_after_its_heart_stood_still_for_hours(store: Store) -> None:
    store.backup("one", [1])
    session = store.repo.writer(owner="somewhere else")
    session._session._stop.set()
    info = list_sessions(store.repo.store, store.repo.envelope)[0]
    start = f"sessions/{info.id}/start"
    sealed = store.repo.envelope.open(start, store.repo.store.get(start)).replace(
        this_machine().encode(), b"another-machine"
    )
    store.repo.store.delete(start)
    store.repo.store.put(start, [store.repo.envelope.seal(start, sealed)])
    assert plan_gc(store.repo).dead_sessions == ()
    store.collect()
    store.clock.advance(7 * 3600)
    assert plan_gc(store.repo).dead_sessions == (info.id,)
    store.collect()
    assert list_sessions(store.repo.store, store.repo.envelope) == []


def test_only_one_collection_runs_and_a_dead_one_does_not_block(store: Store) -> None:
    store.backup("one", [1])
    with store.repo.writer(owner="garbage collection") as other:
        store.repo.store.put(f"{LOCK_PREFIX}-00000001", [other.session_id.encode()])
        with pytest.raises(GcRunningError):
            store.collect()
    store.collect()
    assert [info.key for info in store.repo.store.list(LOCK_PREFIX)] == [f"{LOCK_PREFIX}-00000002"]


@pytest.mark.parametrize("what", ["manifest.json", "disk-2000.map"])
def test_nothing_is_removed_while_a_restore_point_can_not_be_read(store: Store, what: str) -> None:
    store.backup("one", [1])
    store.backup("two", [2])
    store.drop("one")
    path = store.path / "restore-points/vm-a/two" / what
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(NeedUnknownError, match="two"):
        plan_gc(store.reopen())


def test_a_pinned_and_an_unknown_restore_point_are_not_deleted(store: Store) -> None:
    store.backup("one", [1])
    store.repo.pin(RestorePointId("one"))
    with pytest.raises(PinnedError):
        plan_prune(store.repo, [RestorePointId("one")])
    with pytest.raises(NotFoundError):
        plan_prune(store.repo, [RestorePointId("none")])
    assert issubclass(PinnedError, InputError)


def test_the_plan_says_what_deleting_frees(store: Store) -> None:
    store.backup("one", [1, 2, 3])
    store.backup("two", [1])
    freed = plan_prune(store.repo, [RestorePointId("one")]).freed_bytes
    assert 2 * CHUNK <= freed <= 2 * CHUNK + 200


def test_an_index_that_is_gone_is_rebuilt_from_the_packs(store: Store) -> None:
    store.backup("one", [1, 2])
    store.backup("two", [3])
    for path in (store.path / "index").iterdir():
        path.unlink()
    repo = store.reopen()
    plan = plan_repair(repo)
    assert (plan.packs, len(plan.unindexed), plan.is_needed) == (2, 2, True)
    execute_repair(repo, plan)
    store.check()
    assert not plan_repair(store.reopen()).is_needed


def test_a_lost_pack_is_told_and_healed_by_the_next_backup(store: Store) -> None:
    store.backup("one", [1, 2])
    next(path for path in (store.path / "packs").rglob("*") if path.is_file()).unlink()
    repo = store.reopen()
    plan = plan_repair(repo)
    assert (len(plan.missing), len(plan.lost_chunks)) == (1, 2)
    execute_repair(repo, plan)
    store.reopen()
    store.backup("two", [1, 2])
    store.check()


def test_statistics_tell_what_each_machine_costs(store: Store) -> None:
    store.backup("one", [1, 2, 0, 3])
    store.backup("two", [1, 2, 0, 4])
    store.backup("three", [1, 5], vm="vm-b")
    stats = gather(store.repo)
    assert (stats.restore_points, stats.chunks, stats.packs) == (3, 5, 3)
    assert (stats.logical_bytes, stats.used_bytes) == (10 * CHUNK, 8 * CHUNK)
    by_vm = {vm.vm: vm for vm in stats.vms}
    assert by_vm[VmUuid("vm-a")].unique_bytes == pytest.approx(3 * CHUNK, rel=0.01)
    assert by_vm[VmUuid("vm-b")].unique_bytes == pytest.approx(CHUNK, rel=0.01)
    assert stats.ratio == pytest.approx(8 / 5, rel=0.05)


def test_a_shorter_grace_can_be_asked_for(store: Store) -> None:
    store.backup("one", [1])
    store.backup("two", [2])
    store.drop("one")
    store.collect()
    store.clock.advance(2)
    options = GcOptions(grace=timedelta(seconds=1))
    execute_gc(store.repo, plan_gc(store.repo, options), options)
    assert len(store.packs) == 1
    store.check()
