"""A read that goes wrong stops at once, says the first thing that went wrong, and leaves no restore point."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from vbm.cancel import CancelToken
from vbm.disk.extents import Extent
from vbm.disk.reader import Buffer
from vbm.engine.image import FIRST_DISK, ImageOptions, backup_image
from vbm.engine.pool import run_pool
from vbm.engine.restore import restore_disk
from vbm.errors import CancelledError, TransientError, VbmError
from vbm.objectstore.base import Data, StoreFullError
from vbm.objectstore.faulty import FaultyStore
from vbm.objectstore.local import LocalStore
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import NoKey
from vbm.repository.repository import Repository

KIB, MIB = 1024, 1024**2
CHUNK = 256 * KIB
CONTENT = random.Random(1).randbytes(16 * MIB)


class BreakingDisk:
    """Fails at its N-th read, and tells how many reads there were after that."""

    def __init__(self, fail_at: int, error: Exception, *, random_read: bool = True) -> None:
        self.capacity_bytes = len(CONTENT)
        self.random_read = random_read
        self.fail_at, self.error = fail_at, error
        self.reads = 0
        self._lock = threading.Lock()

    def extents(self) -> Iterable[Extent]:
        return [Extent(0, self.capacity_bytes)]

    def readinto(self, offset: int, buffer: Buffer) -> None:
        with self._lock:
            self.reads += 1
            if self.reads == self.fail_at:
                raise self.error
        buffer[:] = CONTENT[offset : offset + len(buffer)]

    def close(self) -> None:
        pass


class FillingStore(FaultyStore):
    """A store with room for so many packs."""

    packs_left = 0

    def put(self, key: str, parts: Sequence[Data]) -> None:
        if key.startswith("packs/"):
            if self.packs_left <= 0:
                raise StoreFullError("no space left")
            self.packs_left -= 1
        super().put(key, parts)


@pytest.fixture
def store(tmp_path: Path) -> FillingStore:
    made = FillingStore(LocalStore(tmp_path / "repo"))
    made.packs_left = 1000
    return made


@pytest.fixture
def repo(store: FillingStore) -> Iterator[Repository]:
    with Repository.create(store, NoKey(), RepositoryOptions(chunk_size_bytes=CHUNK)) as made:
        yield made


def _nothing_is_there(repo: Repository) -> bool:
    return not list(repo.scan()) and not list(repo.store.list("sessions/"))


@pytest.mark.parametrize("random_read", [True, False])
@pytest.mark.parametrize("fail_at", [1, 7, 32])
def test_the_readers_error_comes_through_and_stops_the_others(
    repo: Repository, fail_at: int, random_read: bool
) -> None:
    error = TransientError("the host went away")
    disk = BreakingDisk(fail_at, error, random_read=random_read)
    with pytest.raises(TransientError) as raised:
        backup_image(disk, repo, ImageOptions(range_bytes=2 * CHUNK))
    assert raised.value is error
    assert disk.reads <= fail_at + 4
    assert _nothing_is_there(repo)


def test_a_full_store_is_told_and_leaves_no_restore_point(repo: Repository, store: FillingStore) -> None:
    store.packs_left = 0
    with pytest.raises(StoreFullError):
        backup_image(BreakingDisk(-1, VbmError("")), repo)
    assert _nothing_is_there(repo)
    store.packs_left = 1000
    result = backup_image(BreakingDisk(-1, VbmError("")), repo)
    assert repo.disk_reader(result.restore_point, FIRST_DISK).capacity_bytes == len(CONTENT)


def test_cancelling_ends_the_read_between_two_ranges(repo: Repository) -> None:
    cancel = CancelToken()

    class Cancelling(BreakingDisk):
        def readinto(self, offset: int, buffer: Buffer) -> None:
            super().readinto(offset, buffer)
            if self.reads == 3:
                cancel.cancel("Ctrl-C")

    disk = Cancelling(-1, VbmError(""))
    with pytest.raises(CancelledError, match="Ctrl-C"):
        backup_image(disk, repo, ImageOptions(range_bytes=CHUNK, cancel=cancel))
    assert disk.reads <= 3 + 4
    assert _nothing_is_there(repo)


def test_a_cancelled_restore_leaves_nothing(repo: Repository, tmp_path: Path) -> None:
    point = backup_image(BreakingDisk(-1, VbmError("")), repo).restore_point
    cancel = CancelToken()
    cancel.cancel("Ctrl-C")
    with pytest.raises(CancelledError):
        restore_disk(repo, point, FIRST_DISK, tmp_path / "out.vmdk", image_format="vmdk", cancel=cancel)
    assert [p.name for p in tmp_path.iterdir()] == ["repo"]


def test_of_several_errors_the_first_is_raised_and_every_thread_ends() -> None:
    first = threading.Event()

    def work(stop: threading.Event) -> None:
        if not first.is_set():
            first.set()
            raise ValueError("first")
        stop.wait()
        raise ValueError("second")

    with pytest.raises(ValueError, match="first"):
        run_pool(4, work, "test pool")
    assert not [t for t in threading.enumerate() if t.name.startswith("test pool")]
