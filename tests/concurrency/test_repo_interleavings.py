"""Pairs of the table in docs/design/concurrency.md: one operation runs whole at a call to the store of the other.

At every put and delete in the ordinary tests, at every call there is with ``-m soak``. Whatever happens in
between, and whichever of the two fails: each restore point that was committed reads back byte for byte, then and
after all garbage has been collected; and all garbage goes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from fixtures_repo_core import CHUNK, DISK, KEY, back_up, draft, entry, faulty, fill, new_repository, noise
from vbm.clock import VirtualClock
from vbm.errors import VbmError
from vbm.ids import RestorePointId
from vbm.objectstore.faulty import Crashed, FaultRule, FaultyStore
from vbm.objectstore.local import LocalStore
from vbm.repository.gc import execute_gc, plan_gc
from vbm.repository.gc_state import GcRunningError
from vbm.repository.manifest import Manifest
from vbm.repository.prune import execute_prune, plan_prune
from vbm.repository.repair import execute_repair, plan_repair
from vbm.repository.repository import Repository
from vbm.repository.verify import Verified, execute_verify, plan_verify
from vbm.repository.writer import Writer

DAY = 25 * 3600
OLD, KEPT = noise(1, 4), noise(2, 3)
NEW = OLD + noise(3, 1)  # deduplicates against what is being collected
LITTLE = OLD[:CHUNK]  # keeps a quarter of the old pack needed: it is rewritten


class World:
    """A repository in a folder with a virtual clock, and which disks are in it by our own account."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = VirtualClock()
        self.disks: dict[str, bytes] = {}

    def copy(self, path: Path) -> World:
        shutil.copytree(self.path, path)
        other = World(path)
        other.clock.jump(self.clock.now())
        other.disks = dict(self.disks)
        return other

    def open(self, store: FaultyStore | None = None) -> Repository:
        return Repository.open(store or LocalStore(self.path), KEY, clock=self.clock)

    def backup(self, name: str, data: bytes, store: FaultyStore | None = None) -> None:
        with self.open(store) as repo:
            back_up(repo, name, data)
        self.disks[name] = data

    def delete(self, name: str) -> None:
        with self.open() as repo:
            execute_prune(repo, plan_prune(repo, [RestorePointId(name)]))
        self.disks.pop(name)

    def collect(self, store: FaultyStore | None = None) -> None:
        with self.open(store) as repo:
            execute_gc(repo, plan_gc(repo))

    def verify(self, store: FaultyStore | None = None) -> Verified:
        with self.open(store) as repo:
            return execute_verify(repo, plan_verify(repo))

    def repair(self) -> None:
        with self.open() as repo:
            execute_repair(repo, plan_repair(repo))

    def check(self) -> None:
        """Everything committed is there and whole, and so it is when all garbage has gone."""
        self._read_all()
        for _ in range(6):
            if self._is_tidy():
                break
            with suppress(GcRunningError):  # one cut short counts as running until its heart has stood still
                self.collect()
            self.clock.advance(DAY)
        else:
            raise AssertionError("there is no end to the garbage")
        found = self.verify()
        assert found.restore_points == len(self.disks)
        assert found.good
        assert not found.missing_packs
        assert not found.bad_packs

    def _is_tidy(self) -> bool:
        with self.open() as repo:
            plan = plan_gc(repo)
        return not (plan.has_work or plan.waiting_bytes or plan.live_sessions)

    def _read_all(self) -> None:
        with self.open() as repo:
            points = {point.restore_point_id: point for point in repo.restore_points()}
            for name in points.keys() - self.disks.keys():
                self.disks[name] = NEW  # its commit was reported as failed though the manifest was written
            assert points.keys() == self.disks.keys()
            for name, data in self.disks.items():
                assert read(repo, points[RestorePointId(name)]) == data, name


def read(repo: Repository, point: Manifest) -> bytes:
    disk = repo.disk_reader(point.restore_point_id, DISK)
    data = bytearray(disk.capacity_bytes)
    disk.readinto(0, data)
    for file in point.files:
        if not file.is_disk:
            repo.read_file(point.restore_point_id, file.path)
    return bytes(data)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as made:
        yield Path(made)


@pytest.fixture(params=["put|delete", pytest.param("*", marks=pytest.mark.soak)], ids=["changes", "all"])
def calls(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["list", pytest.param("*", marks=pytest.mark.soak)], ids=["listings", "all"])
def looks(request: pytest.FixtureRequest) -> str:
    """For operations that change nothing."""
    return str(request.param)


def to_condemn(folder: Path, keep: bool = False) -> World:
    """One restore point was deleted: its pack is unneeded, or a quarter of it needed."""
    world = World(folder / "first")
    new_repository(LocalStore(world.path)).close()
    world.backup("old", OLD)
    world.backup("kept", KEPT)
    if keep:
        world.backup("little", LITTLE)
    world.delete("old")
    return world


def to_delete(folder: Path, keep: bool = False) -> World:
    world = to_condemn(folder, keep)
    world.collect()
    world.clock.advance(DAY)
    return world


Prepared = Callable[[Path, bool], World]


def every_call(
    folder: Path,
    world: World,
    calls: str,
    outer: Callable[[World, FaultyStore], None],
    inner: Callable[[World], None],
) -> int:
    """Run ``outer`` again and again, with ``inner`` whole just before its n-th call of that kind, for every n."""
    for number in count():
        now = world.copy(folder / str(number))
        store = faulty(now.path)
        rule = store.on(calls).skip(number).once().call(lambda now=now: inner(now))
        try:
            outer(now, store)
        except VbmError:
            pass
        store.clear()
        now.check()
        shutil.rmtree(now.path)
        if not rule.hits:
            return number
    raise AssertionError


def tolerant(act: Callable[[World], None]) -> Callable[[World], None]:
    """A refusal is a fine answer to being disturbed."""

    def inner(world: World) -> None:
        try:
            act(world)
        except VbmError:
            pass

    return inner


def a_pass(world: World, store: FaultyStore) -> None:
    world.collect(store)


def a_backup(world: World, store: FaultyStore) -> None:
    world.backup("new", NEW, store)


STATES = pytest.mark.parametrize(
    ("prepared", "keep"),
    [(to_condemn, False), (to_condemn, True), (to_delete, False), (to_delete, True)],
    ids=["condemn", "rewrite", "delete", "delete-rewritten"],
)


@STATES
def test_a_backup_at_every_call_of_a_pass(folder: Path, calls: str, prepared: Prepared, keep: bool) -> None:
    inner = tolerant(lambda world: world.backup("new", NEW))
    assert every_call(folder, prepared(folder, keep), calls, a_pass, inner) > 5


@STATES
def test_a_pass_at_every_call_of_a_backup(folder: Path, calls: str, prepared: Prepared, keep: bool) -> None:
    assert every_call(folder, prepared(folder, keep), calls, a_backup, tolerant(World.collect)) > 5


@pytest.mark.parametrize("keep", [False, True])
def test_two_passes_and_two_days_at_every_call_of_a_backup(folder: Path, calls: str, keep: bool) -> None:
    """The backup's own process lives, so that its session does, however long it stands still."""

    def inner(world: World) -> None:
        for _ in range(2):
            world.collect()
            world.clock.advance(DAY)

    assert every_call(folder, to_condemn(folder, keep), calls, a_backup, tolerant(inner)) > 5


@pytest.mark.parametrize("keep", [False, True])
def test_a_backup_stands_still_for_days_from_the_middle_of_a_pass(
    folder: Path, calls: str, keep: bool
) -> None:
    """It begins at any call of pass 1, and goes on when pass 2 has ended."""
    world = to_condemn(folder, keep)
    for number in count():
        now = world.copy(folder / str(number))
        store, waiting = faulty(now.path), []

        def begin(now: World = now, waiting: list[tuple[Writer, Repository]] = waiting) -> None:
            repo = now.open()
            writer = repo.writer(owner="slow")
            map_ = writer.new_map(len(NEW))
            fill(writer, map_, NEW)
            writer.put_map(entry(len(NEW)), map_)
            waiting.append((writer, repo))

        rule = store.on(calls).skip(number).once().call(begin)
        now.collect(store)
        for _ in range(2):
            now.clock.advance(DAY)
            for writer, _repo in waiting:
                writer._session.beat()
            now.collect()
        for writer, repo in waiting:
            writer.commit(draft("new"))
            repo.close()
            now.disks["new"] = NEW
        now.check()
        shutil.rmtree(now.path)
        if not rule.hits:
            break
    assert number > 5


def test_a_commit_stands_still_for_days_between_any_two_of_its_calls(folder: Path, calls: str) -> None:
    """Its session is dropped as dead meanwhile, all it relied on is collected: then it must not exist."""

    def inner(world: World) -> None:
        for _ in range(3):
            world.collect()
            world.clock.advance(DAY)

    def outer(world: World, store: FaultyStore) -> None:
        with world.open(store) as repo, repo.writer(owner="suspended") as writer:
            map_ = writer.new_map(len(NEW))
            fill(writer, map_, NEW)
            writer.put_file("vm.vmx", b"x")
            writer.put_map(entry(len(NEW)), map_)
            writer._session._stop.set()  # no beat any more
            writer.commit(draft("new"))
        world.disks["new"] = NEW

    assert every_call(folder, to_condemn(folder), calls, outer, tolerant(inner)) > 5


@pytest.mark.parametrize("act", ["delete", "repair", "verify", "second pass"])
def test_other_operations_at_every_call_of_a_pass(folder: Path, calls: str, act: str) -> None:
    def verify(world: World) -> None:
        assert world.verify().good

    acts: dict[str, Callable[[World], None]] = {
        "delete": lambda world: world.delete("kept"),
        "repair": World.repair,
        "verify": verify,
        "second pass": World.collect,
    }
    assert every_call(folder, to_delete(folder, True), calls, a_pass, tolerant(acts[act])) > 5


def test_a_pass_at_every_call_of_a_verification(folder: Path, looks: str) -> None:
    def verify(world: World, store: FaultyStore) -> None:
        found = world.verify(store)
        assert found.good, found.damages
        assert not found.missing_packs

    assert every_call(folder, to_delete(folder, True), looks, verify, World.collect) > 5


def test_deleting_at_every_call_of_a_verification_is_no_damage(folder: Path, looks: str) -> None:
    def verify(world: World, store: FaultyStore) -> None:
        assert world.verify(store).good

    def inner(world: World) -> None:
        if "kept" in world.disks:
            world.delete("kept")

    assert every_call(folder, to_condemn(folder, True), looks, verify, inner) > 5


def _faults() -> list[tuple[str, Callable[[FaultRule], object]]]:
    return [
        ("crash before", lambda rule: rule.crash()),
        ("crash after", lambda rule: rule.crash_after()),
        ("answer lost", lambda rule: rule.fail_after()),
    ]


@pytest.mark.parametrize(("name", "fault"), _faults())
@pytest.mark.parametrize(
    ("prepared", "keep"), [(to_condemn, True), (to_delete, True)], ids=["first", "second"]
)
def test_a_pass_that_fails_at_any_call_is_made_good_by_the_next(
    folder: Path, prepared: Prepared, keep: bool, name: str, fault: Callable[[FaultRule], object]
) -> None:
    world = prepared(folder, keep)
    for number in count():
        now = world.copy(folder / str(number))
        store = faulty(now.path)
        rule = store.on("put|delete").skip(number).once()
        fault(rule)
        try:
            now.collect(store)
        except (VbmError, Crashed):
            pass
        store.clear()
        now.backup("new", NEW)
        now.check()
        leftover = {info.key.split("/")[0] for info in LocalStore(now.path).list()}
        assert "condemned" not in leftover
        shutil.rmtree(now.path)
        if not rule.hits:
            break
    assert number > 5
