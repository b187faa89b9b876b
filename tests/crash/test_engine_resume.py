"""kill -9 in the middle of reading: what was finished is not read again, and nothing wrong is taken over."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from vbm.cancel import CancelToken
from vbm.clock import SystemClock
from vbm.disk.extents import Extent
from vbm.disk.raw import RawDisk
from vbm.disk.reader import Buffer
from vbm.engine.checkpoint import Checkpoint, RunFolder
from vbm.engine.disk_copy import DiskSource, Tools, copy_disk
from vbm.engine.rate_limit import RateLimit
from vbm.ids import DiskKey, MoRef, RestorePointId, RunId, VmUuid
from vbm.objectstore.local import LocalStore
from vbm.progress import Silent
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import NoKey
from vbm.repository.manifest import DiskEntry, Manifest, ManifestDraft
from vbm.repository.repository import Repository

KIB, MIB = 1024, 1024**2
CHUNK = 256 * KIB
SIZE = 12 * MIB
KEY = DiskKey(2000)

# A child that reads the disk and, at the N-th read, says so and waits to be killed.
CHILD = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_engine_resume as tests
from pathlib import Path
home, stop_at, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
tests.run(home, stop_at=stop_at, workers=workers)
"""


class HangingDisk(RawDisk):
    """Counts its reads; at one of them it reports and waits for ever."""

    def __init__(self, path: Path, stop_at: int) -> None:
        super().__init__(path)
        self.bytes_read, self.reads, self._stop_at = 0, 0, stop_at

    def extents(self) -> Iterable[Extent]:  # type: ignore[override]
        return [Extent(0, self.capacity_bytes)]

    def readinto(self, offset: int, buffer: Buffer) -> None:
        self.reads += 1
        if self.reads == self._stop_at:
            os.write(1, b"reading\n")
            sys.stdin.read()
        super().readinto(offset, buffer)
        self.bytes_read += len(buffer)


def run(home: Path, *, stop_at: int = 0, resume: bool = False, workers: int = 2) -> tuple[Manifest, int, int]:
    """One read of ``home/disk.img`` with a checkpoint at every range; answers what was read and taken over."""
    disk = HangingDisk(home / "disk.img", stop_at)
    folder = RunFolder(home, RunId("run"))
    clock = SystemClock()
    with Repository.open(LocalStore(home / "repo"), NoKey()) as repo, repo.writer(owner="test") as writer:
        tools = Tools(
            writer=writer,
            read_chunk=repo.read_chunk,
            chunk_bytes=CHUNK,
            limit=RateLimit(0, clock),
            progress=Silent(),
            cancel=CancelToken(),
            workers=workers,
            journal=Checkpoint(folder, writer, clock, chunk_bytes=CHUNK, every_seconds=0),
            resume=folder if resume else None,
        )
        outcome = copy_disk(DiskSource(KEY, "disk", disk, 2 * CHUNK, workers), tools, None)
        entry = DiskEntry(KEY, "", SIZE, None, "disk-2000.map")
        writer.put_map(entry, outcome.target)
        manifest = writer.commit(_draft())
    return manifest, disk.bytes_read, outcome.bytes_resumed


def _draft() -> ManifestDraft:
    now = SystemClock().now()
    return ManifestDraft(
        restore_point_id=RestorePointId("point"),
        run_id=RunId("run"),
        vm_name="vm",
        vm_moref=MoRef("vm-1"),
        vm_instance_uuid=VmUuid("uuid"),
        vcenter="",
        started=now,
        finished=now,
        snapshot="",
        consistency="crash",
        read_mode="full",
        transport="image",
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "disk.img").write_bytes(random.Random(3).randbytes(SIZE))
    options = RepositoryOptions(chunk_size_bytes=CHUNK)
    Repository.create(LocalStore(tmp_path / "repo"), NoKey(), options).close()
    return tmp_path


def _killed(home: Path, stop_at: int, workers: int = 2) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(home), str(stop_at), str(workers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    try:
        assert child.stdout.readline() == b"reading\n"
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


def _stored(home: Path) -> bytes:
    with Repository.open(LocalStore(home / "repo"), NoKey()) as repo:
        buffer = bytearray(SIZE)
        repo.disk_reader(RestorePointId("point"), KEY).readinto(0, buffer)
        return bytes(buffer)


@pytest.mark.parametrize("stop_at", [1, 7, 24])
def test_a_killed_read_goes_on_with_the_rest(home: Path, stop_at: int) -> None:
    _killed(home, stop_at, workers=1)
    _, bytes_read, bytes_resumed = run(home, resume=True)
    assert bytes_resumed == (stop_at - 1) * 2 * CHUNK
    assert bytes_read == SIZE - bytes_resumed
    assert _stored(home) == (home / "disk.img").read_bytes()


def test_killed_twice_it_still_ends_well(home: Path) -> None:
    _killed(home, 12)
    _killed(home, 12)  # does not resume: its records come after the first one's
    _, _, bytes_resumed = run(home, resume=True)
    assert bytes_resumed > 0
    assert _stored(home) == (home / "disk.img").read_bytes()


def test_chunks_that_vanished_meanwhile_are_read_again(home: Path) -> None:
    _killed(home, 15)
    for pack in (home / "repo/packs").rglob("*"):
        if pack.is_file():
            pack.unlink()
    _, bytes_read, _ = run(home, resume=True)
    assert bytes_read == SIZE
    assert _stored(home) == (home / "disk.img").read_bytes()
