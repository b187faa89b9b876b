"""Checkpoints: nothing is written down before it is durable, and a torn end costs only itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vbm.clock import VirtualClock
from vbm.disk.extents import Extent
from vbm.engine.checkpoint import Checkpoint, RunFolder, adopt, finished, remove_orphans
from vbm.engine.geometry import Geometry
from vbm.ids import ZERO_CHUNK, ChunkId, DiskKey, RunId

KEY = DiskKey(2000)
MIB = 1024**2


class Sink:
    def __init__(self, present: Iterable[ChunkId] = ()) -> None:
        self.checkpoints = 0
        self.present = set(present)

    def checkpoint(self) -> None:
        self.checkpoints += 1

    def adopt(self, ids: Iterable[ChunkId]) -> set[ChunkId]:
        return {i for i in ids if i in self.present}


class Target(dict[int, ChunkId]):
    def set(self, index: int, chunk_id: ChunkId) -> None:
        self[index] = chunk_id


def _ids(*numbers: int) -> list[ChunkId]:
    return [ChunkId(n.to_bytes(32, "big")) for n in numbers]


def _checkpoint(home: Path, sink: Sink, clock: VirtualClock, **limits: float) -> tuple[RunFolder, Checkpoint]:
    folder = RunFolder(home, RunId("run"))
    seconds, size = limits.get("every_seconds", 10.0), int(limits.get("every_bytes", 1 << 40))
    return folder, Checkpoint(folder, sink, clock, chunk_bytes=MIB, every_seconds=seconds, every_bytes=size)


def test_records_come_back_in_order(tmp_path: Path) -> None:
    folder, checkpoint = _checkpoint(tmp_path, Sink(), VirtualClock())
    checkpoint.add(KEY, 5, _ids(1, 2))
    checkpoint.add(KEY, 0, _ids(3))
    checkpoint.flush()
    checkpoint.add(KEY, 9, _ids(4))
    checkpoint.flush()
    assert list(finished(folder, KEY)) == [(5, _ids(1, 2)), (0, _ids(3)), (9, _ids(4))]


def test_one_is_made_when_it_is_due_by_time_or_by_size(tmp_path: Path) -> None:
    clock, sink = VirtualClock(), Sink()
    folder, checkpoint = _checkpoint(tmp_path, sink, clock, every_bytes=3 * MIB)
    checkpoint.add(KEY, 0, _ids(1))
    assert sink.checkpoints == 0
    clock.advance(10)
    checkpoint.add(KEY, 1, _ids(2))
    assert sink.checkpoints == 1
    checkpoint.add(KEY, 2, _ids(3, 4, 5))
    assert sink.checkpoints == 2
    assert len(list(finished(folder, KEY))) == 3


def test_what_could_not_be_made_durable_is_not_written_down(tmp_path: Path) -> None:
    class Full(Sink):
        def checkpoint(self) -> None:
            raise OSError("full")

    folder, checkpoint = _checkpoint(tmp_path, Full(), VirtualClock())
    checkpoint.add(KEY, 0, _ids(1))
    with pytest.raises(OSError, match="full"):
        checkpoint.flush()
    assert list(finished(folder, KEY)) == []


def test_only_what_is_still_in_the_repository_is_taken_over(tmp_path: Path) -> None:
    folder, checkpoint = _checkpoint(tmp_path, Sink(), VirtualClock())
    one, two, three = _ids(1, 2, 3)
    checkpoint.add(KEY, 0, [one, two, ZERO_CHUNK])
    checkpoint.add(KEY, 7, [three])
    checkpoint.flush()
    target = Target()
    done = adopt(folder, KEY, Sink([one, three]), target, Geometry(8 * MIB - 512, MIB))
    assert done == [Extent(0, MIB), Extent(2 * MIB, MIB), Extent(7 * MIB, MIB - 512)]
    assert target == {0: one, 2: ZERO_CHUNK, 7: three}


def test_a_run_that_was_never_begun_has_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, RunId("none"))
    assert list(finished(folder, KEY)) == []
    assert folder.load_state() is None
    folder.remove()


def test_what_a_run_left_goes_with_its_snapshot(tmp_path: Path) -> None:
    for name in ("known", "orphan"):
        RunFolder(tmp_path, RunId(name)).save_state(b"{}")
    remove_orphans(tmp_path, lambda: {RunId("known")})
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["known"]


@given(cut=st.integers(0, 400), flip=st.integers(0, 400))
@settings(max_examples=60)
def test_a_damaged_end_never_yields_what_was_not_written(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int
) -> None:
    folder, checkpoint = _checkpoint(tmp_path_factory.mktemp("run"), Sink(), VirtualClock())
    written = [(0, _ids(1, 2)), (2, _ids(3)), (3, _ids(4, 5, 6))]
    for first, ids in written:
        checkpoint.add(KEY, first, ids)
    checkpoint.flush()
    file = folder.disk_file(KEY)
    data = bytearray(file.read_bytes()[: max(0, file.stat().st_size - cut)])
    if data:
        data[flip % len(data)] ^= 1
    file.write_bytes(bytes(data))
    read = list(finished(folder, KEY))
    assert read == written[: len(read)]
    assert len(read) < len(written)
