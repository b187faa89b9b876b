"""Whatever the store fails at, and whenever: the repository opens and what was committed reads back."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from fixtures_repo_core import (
    CHUNK,
    DISK,
    KEY,
    back_up,
    draft,
    entry,
    faulty,
    fill,
    new_repository,
    noise,
    read_back,
)
from vbm.errors import VbmError
from vbm.ids import RestorePointId
from vbm.objectstore.base import ObjectExistsError
from vbm.objectstore.faulty import Crashed, FaultRule, FaultyStore
from vbm.objectstore.local import LocalStore
from vbm.repository.condemned import Condemned, write_condemned
from vbm.repository.damage import record_damaged
from vbm.repository.repository import Repository
from vbm.repository.sessions import list_sessions

FAULTS: dict[str, Callable[[FaultRule], object]] = {
    "fails": lambda rule: rule.fail(),
    "answer lost": lambda rule: rule.fail_after(),
    "full": lambda rule: rule.full(),
    "crash before": lambda rule: rule.crash(),
    "crash after": lambda rule: rule.crash_after(),
}
SOAK = pytest.mark.soak
FIRST, SECOND = noise(1, 4), noise(1, 2) + noise(2, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be had: hundreds of restore points are written and synced here."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as made:
        yield Path(made)


def _second(store: FaultyStore) -> None:
    """An incremental that meets a condemned pack and a damaged chunk: every kind of call is made."""
    repo = Repository.open(store, KEY)
    with repo.writer(owner="second") as writer:
        map_ = writer.new_map(len(SECOND))
        fill(writer, map_, SECOND[: 2 * CHUNK])
        writer.checkpoint()
        for index in range(2, 5):
            part = SECOND[index * CHUNK : (index + 1) * CHUNK]
            map_.set(index, writer.put_chunk(part).id)
        writer.put_file("vm.vmx", b"x")
        writer.put_map(entry(len(SECOND)), map_)
        if not list(store.inner.list("condemned/")):
            shared = repo.index.places(repo.disk_map(RestorePointId("rp-1"), DISK).id(0))[-1].pack
            write_condemned(store.inner, repo.envelope, Condemned("1", "2026-01-01T00:00:00Z", (shared,)))
        writer.commit(draft("rp-2"))


def _prepared(path: Path) -> FaultyStore:
    store = faulty(path)
    repo = new_repository(store)
    back_up(repo, "rp-1", FIRST)
    record_damaged(store, [repo.disk_map(RestorePointId("rp-1"), DISK).id(1)])
    store.clear()
    return store


@pytest.mark.parametrize(
    "fault",
    ["full", "answer lost", "crash before", *(pytest.param(f, marks=SOAK) for f in ("fails", "crash after"))],
)
def test_at_every_single_call(folder: Path, fault: str) -> None:
    committed = 0
    _prepared(folder / "first")
    for number in count():
        shutil.copytree(folder / "first", folder / str(number))
        store = faulty(folder / str(number))
        rule = store.on("*").skip(number).once()
        FAULTS[fault](rule)
        try:
            _second(store)
        except (VbmError, Crashed):
            pass
        store.clear()
        store.revive()
        opened = Repository.open(LocalStore(folder / str(number)), KEY)
        assert read_back(opened, "rp-1") == FIRST
        points = [point.restore_point_id for point in opened.restore_points()]
        if "rp-2" in points:
            committed += 1
            assert read_back(opened, "rp-2") == SECOND
        else:
            _second(store)
            assert read_back(Repository.open(store, KEY), "rp-2") == SECOND
        if not rule.hits:
            break
    assert number > 25
    assert 0 < committed < number


def test_a_lost_answer_to_the_manifest_says_that_it_exists_when_tried_again(tmp_path: Path) -> None:
    store = _prepared(tmp_path)
    store.on("put", "*/manifest.json").once().fail_after()
    with pytest.raises(VbmError):
        _second(store)
    assert read_back(Repository.open(store, KEY), "rp-2") == SECOND
    with pytest.raises(ObjectExistsError):
        _second(store)


CHILD = """
import random, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from fixtures_repo_core import KEY, back_up, noise
from vbm.objectstore.local import LocalStore
from vbm.repository.repository import Repository
repo = Repository.open(LocalStore(Path(sys.argv[1])), KEY)
print("ready", flush=True)
sys.stdin.readline()
for number in range(5):
    back_up(repo, f"rp-{sys.argv[3]}-{number}", noise(number, 8) + noise(int(sys.argv[3]), 2))
"""


def test_processes_write_one_repository_at_once(tmp_path: Path) -> None:
    new_repository(LocalStore(tmp_path))
    tests = str(Path(__file__).resolve().parents[1])
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), tests, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("100", "200")
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.communicate("go\n")
    assert [child.returncode for child in children] == [0, 0]
    repo = Repository.open(LocalStore(tmp_path), KEY)
    assert len(list(repo.restore_points())) == 10
    for name in (100, 200):
        for number in range(5):
            assert read_back(repo, f"rp-{name}-{number}") == noise(number, 8) + noise(name, 2)
    assert list_sessions(repo.store, repo.envelope) == []
