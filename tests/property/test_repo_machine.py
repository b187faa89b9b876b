"""A repository against a dictionary: random backups, pins, deletions, collections, repairs, clocks and crashes.

After every step each restore point of the model reads back byte for byte, by a repository opened anew, and nothing is
listed that the model does not know. Once all is quiet the garbage goes to its last byte, and verification is clean.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fixtures_repo_core import CHUNK, DISK, VM, chunks_of, draft, entry, faulty, key_of, new_repository
from vbm.clock import VirtualClock
from vbm.errors import VbmError
from vbm.ids import ChunkId, RestorePointId
from vbm.objectstore.base import ObjectStore
from vbm.objectstore.faulty import Crashed, FaultyStore
from vbm.objectstore.local import LocalStore
from vbm.repository.gc import execute_gc, plan_gc
from vbm.repository.gc_state import GcRunningError
from vbm.repository.pack import list_packs, read_table
from vbm.repository.prune import PinnedError, execute_prune, plan_prune
from vbm.repository.repair import execute_repair, plan_repair
from vbm.repository.repository import Repository
from vbm.repository.sessions import SessionLostError
from vbm.repository.verify import execute_verify, plan_verify
from vbm.repository.writer import Writer

NOBODY = 4_194_305  # no process has this number: it is above Linux's greatest


@cache
def chunk(seed: int) -> bytes:
    return bytes(CHUNK) if seed == 0 else random.Random(seed).randbytes(CHUNK)


@dataclass(frozen=True)
class Death:
    """At the n-th change an operation makes to the store: how it fails, and whether its process is seen to be gone."""

    number: int
    how: str
    is_seen: bool


deaths = st.none() | st.builds(
    Death, st.integers(0, 14), st.sampled_from(["crash", "crash_after", "fail", "fail_after"]), st.booleans()
)
contents = st.lists(st.integers(0, 9), min_size=1, max_size=5)


@dataclass
class Waiting:
    """A backup that is under way while other things happen."""

    name: str
    seeds: list[int]
    repo: Repository
    writer: Writer
    is_asleep: bool


class Machine(RuleBasedStateMachine):
    """One operation at a time, but for backups that are under way; each may fail at any change it makes."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.path = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.clock = VirtualClock()
        self.disks: dict[str, list[int]] = {}
        self.pinned: set[str] = set()
        self.waiting: list[Waiting] = []
        self.count = 0

    @initialize(encrypted=st.booleans())
    def create(self, encrypted: bool) -> None:
        self.key = key_of(encrypted)
        new_repository(LocalStore(self.path), self.key).close()
        self.repo = self.open()

    def open(self, store: ObjectStore | None = None) -> Repository:
        return Repository.open(store or LocalStore(self.path), self.key, clock=self.clock)

    def attempt(self, act: Callable[[Repository], None], death: Death | None) -> bool:
        """Whether it ended well. Without a death in store it is done by the repository that has been open for long."""
        if death is None:
            act(self.repo)
            return True
        store = faulty(self.path)
        with ExitStack() as stack:
            if death.is_seen:
                stack.enter_context(patch("os.getpid", return_value=NOBODY))
            repo = self.open(store)
            doom(store, death)
            try:
                act(repo)
            except (VbmError, Crashed):
                return False
            finally:
                store.clear()
                store.inner.close()
        return True

    def existing(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.disks)))

    def listed(self) -> dict[str, RestorePointId]:
        with self.open() as repo:
            return {point.restore_point_id: point.restore_point_id for point in repo.restore_points()}

    # --- backups

    @rule(seeds=contents, death=deaths)
    def back_up(self, seeds: list[int], death: Death | None) -> None:
        self._back_up(seeds, None, death)

    @precondition(lambda self: self.disks)
    @rule(
        data=st.data(),
        changes=st.dictionaries(st.integers(0, 4), st.integers(0, 9), max_size=3),
        death=deaths,
    )
    def back_up_changes(self, data: st.DataObject, changes: dict[int, int], death: Death | None) -> None:
        base = self.existing(data)
        seeds = [changes.get(at, seed) for at, seed in enumerate(self.disks[base])]
        self._back_up(seeds, base, death)

    def _back_up(self, seeds: list[int], base: str | None, death: Death | None) -> None:
        name = self.new_name()

        def act(repo: Repository) -> None:
            with repo.writer(owner=name) as writer:
                fill(repo, writer, seeds, self.disks[base] if base else None, base)
                writer.commit(draft(name))

        if (
            self.attempt(act, death) or name in self.listed()
        ):  # its commit may have told of a failure and yet be one
            self.disks[name] = seeds

    def new_name(self) -> str:
        self.count += 1
        return f"rp-{self.count:03d}"

    @precondition(lambda self: len(self.waiting) < 2)
    @rule(seeds=contents, is_asleep=st.booleans())
    def begin(self, seeds: list[int], is_asleep: bool) -> None:
        """A backup that goes on later. While it sleeps its heart does not beat."""
        repo = self.open()
        name = self.new_name()
        writer = repo.writer(owner=name)
        fill(repo, writer, seeds, None, None)
        self.waiting.append(Waiting(name, seeds, repo, writer, is_asleep))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        backup = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(backup)
        with backup.repo, backup.writer as writer:
            try:
                writer.commit(draft(backup.name))
            except SessionLostError:
                assert backup.is_asleep
                return
        self.disks[backup.name] = backup.seeds

    # --- everything else

    @precondition(lambda self: self.disks)
    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        name = self.existing(data)
        self.repo.pin(RestorePointId(name))
        self.pinned.add(name)

    @precondition(lambda self: self.pinned)
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.pinned)))
        self.repo.unpin(RestorePointId(name))
        self.pinned.remove(name)

    @precondition(lambda self: self.disks)
    @rule(data=st.data(), death=deaths)
    def delete(self, data: st.DataObject, death: Death | None) -> None:
        name = self.existing(data)

        def act(repo: Repository) -> None:
            execute_prune(repo, plan_prune(repo, [RestorePointId(name)]))

        if name in self.pinned:
            with pytest.raises(PinnedError):
                act(self.repo)
        elif self.attempt(act, death) or name not in self.listed():
            del self.disks[name]

    @rule(death=deaths)
    def collect(self, death: Death | None) -> None:
        def act(repo: Repository) -> None:
            with suppress(GcRunningError):  # by a pass that died, as far as anybody knows
                execute_gc(repo, plan_gc(repo))

        self.attempt(act, death)

    @rule(hours=st.sampled_from([1, 7, 25]))
    def pass_time(self, hours: int) -> None:
        self.clock.advance(hours * 3600)
        for backup in self.waiting:
            if not backup.is_asleep:
                backup.writer._session.beat()

    @rule(death=deaths)
    def repair(self, death: Death | None) -> None:
        self.attempt(lambda repo: execute_repair(repo, plan_repair(repo)), death)

    @rule()
    def reopen(self) -> None:
        self.repo.close()
        self.repo = self.open()

    @rule(read_data=st.booleans())
    def verify(self, read_data: bool) -> None:
        found = execute_verify(self.repo, plan_verify(self.repo, read_data=read_data))
        assert found.good, found.damages
        assert (found.restore_points, found.bad_packs, found.missing_packs) == (len(self.disks), (), ())

    @invariant()
    def all_is_there_and_nothing_else(self) -> None:
        with self.open() as repo:
            assert {point.restore_point_id for point in repo.restore_points()} == self.disks.keys()
            for name, seeds in self.disks.items():
                disk = repo.disk_reader(RestorePointId(name), DISK)
                data = bytearray(disk.capacity_bytes)
                disk.readinto(0, data)
                assert chunks_of(bytes(data)) == [chunk(seed) for seed in seeds], name
            assert repo.pinned() == self.pinned

    def teardown(self) -> None:
        try:
            for backup in self.waiting:
                backup.writer.abort()
                backup.repo.close()
            if hasattr(self, "repo"):
                self.repo.close()
                self._all_garbage_goes()
        finally:
            shutil.rmtree(self.path)

    def _all_garbage_goes(self) -> None:
        for _ in range(6):
            with self.open() as repo:
                plan = plan_gc(repo)
                if not (plan.has_work or plan.waiting_bytes or plan.live_sessions):
                    break
                with suppress(GcRunningError):
                    execute_gc(repo, plan)
            self.clock.advance(25 * 3600)
        else:
            raise AssertionError(f"there is no end to the garbage: {plan}")
        self.all_is_there_and_nothing_else()
        with self.open() as repo:
            self._only_what_is_needed_is_left(repo)
            found = execute_verify(repo, plan_verify(repo))
            assert (found.damages, found.bad_packs, found.missing_packs) == ((), (), ())

    def _only_what_is_needed_is_left(self, repo: Repository) -> None:
        needed: set[ChunkId] = set()
        for name in self.disks:
            needed |= {found for _, found in repo.disk_map(RestorePointId(name), DISK).used()}
        packs = {pack for pack, _ in list_packs(repo.store)}
        for pack in packs:
            assert needed & {found for found, _ in read_table(repo.store, repo.envelope, pack)}
        assert repo.index.packs() == packs
        keys = [info.key for info in repo.store.list()]
        assert {key.split("/")[0] for key in keys} <= {
            "config", "keys", "packs", "index", "restore-points", "pinned", "gc",
        }  # fmt: skip
        kept = {tuple(key.split("/")[1:3]) for key in keys if key.startswith("restore-points/")}
        assert kept == {(VM, name) for name in self.disks}


def doom(store: FaultyStore, death: Death) -> None:
    change = store.on("put|delete").skip(death.number).once()
    getattr(change, death.how)()


def fill(repo: Repository, writer: Writer, seeds: list[int], old: list[int] | None, base: str | None) -> None:
    """A disk, whole or by what differs from its base, and a small file."""
    size = len(seeds) * CHUNK
    map_ = writer.new_map(size, repo.disk_map(RestorePointId(base), DISK) if base else None)
    for index, seed in enumerate(seeds):
        if old is None or old[index] != seed:
            map_.set(index, writer.put_chunk(chunk(seed)).id)
    writer.put_file("vm.vmx", b"memSize = 1024")
    writer.put_map(entry(size), map_)


class LongMachine(Machine):
    """The same, for longer."""


Machine.TestCase.settings = settings(max_examples=25, stateful_step_count=25)
LongMachine.TestCase.settings = settings(max_examples=1500, stateful_step_count=60, derandomize=False)
TestMachine = Machine.TestCase
TestLongMachine = pytest.mark.soak(LongMachine.TestCase)
