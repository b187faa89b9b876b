"""Verify: what restore points need is there (*quick*), and every byte of it is what was stored (*full*).

Both read the manifests, files and maps and look each chunk up in the index and its pack in the store. Full reads
every pack that is needed once, in order, several at a time, and opens and checks each needed chunk in it, however
many restore points share it. Everything that damage touches is named: restore point, disk, ranges, file. Packs that
hold damage are recorded, so that backups store anew what lies in them and garbage collection replaces them.

Memory: 8 bytes a chunk that is needed, and 44 for a sixteenth of them; 16 MiB a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

import numpy as np

from vbm.cancel import CancelToken
from vbm.errors import DamagedError, NotFoundError
from vbm.ids import ChunkId, DiskKey, PackId, RestorePointId
from vbm.progress import Progress, Silent
from vbm.repository.damage import record_bad_packs
from vbm.repository.disk_map import ID_BYTES, SEGMENT_IDS, DiskMap, checksum
from vbm.repository.index import Entry
from vbm.repository.manifest import FileEntry, Manifest
from vbm.repository.marks import Marks, among, union, words_of
from vbm.repository.pack import list_packs
from vbm.repository.pack_check import PackCheck, PackVerdict
from vbm.repository.repository import DamagedRestorePoint, Repository
from vbm.units import format_size

_MOST_THREADS: Final = 4
_SEGMENTS: Final = 16  # of a map, looked up at a time: 65,536 ids
_MOST_RANGES: Final = 10_000  # of one disk that are told apart
_SMALLEST_BATCH: Final = 256  # packs whose places are taken from the index at once
_BATCHES: Final = 16
_PACKS: Final = DiskKey(0)  # what progress of reading packs is told as


@dataclass(frozen=True, slots=True)
class Damage:
    """One damaged place. ``disk_key`` None: not of a disk; ``length`` 0: the whole document or file."""

    restore_point: RestorePointId
    vm_name: str
    disk_key: DiskKey | None
    offset: int
    length: int
    message: str
    file: str = ""


@dataclass(frozen=True, slots=True)
class VerifyPlan:
    """What will be looked at. ``points`` None: every restore point that there is when it is executed."""

    points: tuple[RestorePointId, ...] | None
    restore_points: int
    disks: int
    logical_bytes: int
    read_data: bool


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at and found. ``bad_packs`` hold damage, ``missing_packs`` are gone though chunks lie there."""

    restore_points: int = 0
    chunks_checked: int = 0
    bytes_checked: int = 0
    damages: tuple[Damage, ...] = ()
    bad_packs: tuple[PackId, ...] = ()
    missing_packs: tuple[PackId, ...] = ()
    lost_chunks: int = 0
    notes: tuple[str, ...] = ()
    points: tuple[RestorePointId, ...] = ()
    read_data: bool = False

    @property
    def good(self) -> bool:
        """Whether every restore point that was looked at can be restored whole."""
        return not self.damages

    @property
    def sentence(self) -> str:
        """For people: what was checked."""
        points = f"{self.restore_points} restore point{'' if self.restore_points == 1 else 's'} whole"
        read = f"{format_size(self.bytes_checked)} read back" if self.bytes_checked else "looked up, not read"
        return f"{points}: {self.chunks_checked} chunks, {read}"

    def by_point(self) -> dict[RestorePointId, bool]:
        """Of each restore point that was looked at, whether it is whole."""
        bad = {damage.restore_point for damage in self.damages}
        return {point: point not in bad for point in self.points}

    def to_document(self) -> dict[str, Any]:
        """For JSON."""
        return {"good": self.good, **asdict(self)}


def plan_verify(
    repo: Repository, points: Sequence[RestorePointId] | None = None, *, read_data: bool = True
) -> VerifyPlan:
    """What verifying these restore points, or all, would look at. Raises NotFoundError for one that is not there."""
    found = list(repo.scan()) if points is None else [_found(repo, point) for point in points]
    readable = [point for point in found if isinstance(point, Manifest)]
    return VerifyPlan(
        points=None if points is None else tuple(points),
        restore_points=len(found),
        disks=sum(len(point.disks) for point in readable),
        logical_bytes=sum(point.size_bytes for point in readable),
        read_data=read_data,
    )


def execute_verify(
    repo: Repository,
    plan: VerifyPlan,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Verified:
    """Look, and record what is damaged. Raises only what is no damage: CancelledError, a store out of reach."""
    verification = _Verification(repo, plan, progress or Silent(), cancel or CancelToken())
    return verification.run()


def verify_point(repo: Repository, point: RestorePointId, *, read_data: bool = True) -> Verified:
    """One restore point, without more ado."""
    return execute_verify(repo, plan_verify(repo, [point], read_data=read_data))


def _found(repo: Repository, point: RestorePointId) -> Manifest | DamagedRestorePoint:
    try:
        return repo.manifest(point)
    except DamagedError:
        return next(f for f in repo.scan() if isinstance(f, DamagedRestorePoint) and f.id == point)


@dataclass(frozen=True, slots=True)
class _Disk:
    point: Manifest
    entry: FileEntry
    key: DiskKey


class _Verification:
    """One run. Order: documents and maps, then packs, then the places that what was found missing touches."""

    def __init__(self, repo: Repository, plan: VerifyPlan, progress: Progress, cancel: CancelToken) -> None:
        self._repo = repo
        self._plan = plan
        self._progress = progress
        self._cancel = cancel
        self._damages: list[Damage] = []
        self._notes: list[str] = []
        self._disks: list[_Disk] = []  # whose maps can be read
        self._lost: dict[ChunkId, str] = {}
        self._lengths: dict[ChunkId, int] = {}
        self._impaired: set[PackId] = set()
        self._missing: set[PackId] = set()
        self._chunks = self._bytes = 0
        self._seen: list[RestorePointId] = []

    def run(self) -> Verified:
        self._progress.phase("connecting")
        self._repo.reload()
        self._absent = self._absent_packs()
        points = 0
        marks: list[Marks] = []
        for point in self._points():
            self._cancel.check()
            points += 1
            marks.append(self._point(point))
        needed = union(marks)
        if self._plan.read_data:
            self._progress.phase("downloading")
            self._read(needed)
        self._progress.phase("committing")
        self._settle()
        self._name()
        record_bad_packs(self._repo.store, self._impaired)
        self._progress.phase("done")
        return Verified(
            restore_points=points,
            chunks_checked=self._chunks if self._plan.read_data else len(needed),
            bytes_checked=self._bytes,
            damages=tuple(self._damages),
            bad_packs=tuple(sorted(self._impaired)),
            missing_packs=tuple(sorted(self._missing)),
            lost_chunks=len(self._lost),
            notes=tuple(self._notes),
            points=tuple(self._seen),
            read_data=self._plan.read_data,
        )

    # --- documents and maps

    def _points(self) -> Iterator[Manifest | DamagedRestorePoint]:
        if self._plan.points is None:
            yield from self._repo.scan()
            return
        for point in self._plan.points:
            try:
                yield _found(self._repo, point)
            except NotFoundError:
                self._note(f"restore point {point} was deleted meanwhile")

    def _absent_packs(self) -> frozenset[PackId]:
        """Packs that the index names and that are not there, or shorter than what should lie in them."""
        wanted = self._repo.index.ends()
        for pack, size_bytes in list_packs(self._repo.store):
            if wanted.get(pack, 0) <= size_bytes:
                wanted.pop(pack, None)
        return frozenset(wanted)

    def _point(self, point: Manifest | DamagedRestorePoint) -> Marks:
        """Check its files and maps; the marks of its chunks."""
        self._seen.append(point.id if isinstance(point, DamagedRestorePoint) else point.restore_point_id)
        if isinstance(point, DamagedRestorePoint):
            self._damages.append(Damage(point.id, point.vm, None, 0, 0, point.error.message, "manifest.json"))
            return union([])
        found = []
        before = len(self._damages), len(self._disks)
        for entry in point.files:
            if entry.disk_key is None:
                problem = _problem(partial(self._repo.read_file, point.restore_point_id, entry.path))
                if problem:
                    self._damages.append(
                        Damage(point.restore_point_id, point.vm_name, None, 0, 0, problem, entry.path)
                    )
            else:
                found.append(self._disk(_Disk(point, entry, entry.disk_key)))
        if len(self._damages) > before[0] and not self._repo.exists(point):
            del self._damages[before[0] :], self._disks[before[1] :]
            self._seen.pop()
            self._note(f"restore point {point.restore_point_id} was deleted meanwhile")
            return union([])
        return union(found)

    def _disk(self, disk: _Disk) -> Marks:
        """Check one map: its hash, its structure, and that each chunk is known to lie in a pack that is there."""
        found: list[Marks] = []
        problem = _problem(lambda: found.append(self._map(disk)))
        if problem:
            self._damages.append(self._damage(disk, 0, 0, problem))
            return union([])
        self._disks.append(disk)
        return found[0]

    def _map(self, disk: _Disk) -> Marks:
        disk_map = self._repo.open_map(disk.point, disk.key)
        if checksum(self._repo.store, disk_map.key) != disk.entry.map_sha256:
            raise DamagedError(f"{disk_map.key} is not the map of its manifest")
        marks = []
        for _, ids in _ids_of(disk_map):
            self._cancel.check()
            present = self._repo.index.present(ids, self._absent)
            for at in np.flatnonzero(~present).tolist():
                chunk = ChunkId(ids[at * ID_BYTES : (at + 1) * ID_BYTES])
                self._lost[chunk] = f"chunk {chunk.hex()[:16]} is in no pack of the repository"
            marks.append(words_of(np.frombuffer(ids, "V32")))
        return union(marks)

    # --- packs

    def _read(self, needed: Marks) -> None:
        check = PackCheck(self._repo.store, self._repo.envelope, self._repo.config.chunk_size_bytes)
        threads = min(_MOST_THREADS, os.cpu_count() or 1)
        self._progress.disk(_PACKS, "packs", self._bytes_to_read(needed))
        with ThreadPoolExecutor(threads, "verify") as pool:
            waiting: set[Future[PackVerdict]] = set()
            try:
                for pack, wanted in self._work(needed):
                    waiting.add(pool.submit(check.look, pack, wanted, self._cancel))
                    if len(waiting) > threads:
                        waiting = self._take(waiting)
                while waiting:
                    waiting = self._take(waiting)
            except BaseException:
                for future in waiting:
                    future.cancel()
                raise

    def _take(self, waiting: set[Future[PackVerdict]]) -> set[Future[PackVerdict]]:
        done, rest = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            self._judge(future.result())
        return rest

    def _judge(self, verdict: PackVerdict) -> None:
        self._chunks += verdict.chunks
        self._bytes += verdict.bytes_checked
        self._lengths |= verdict.lengths
        self._progress.advance(_PACKS, verdict.bytes_read)
        for chunk, message in verdict.bad.items():
            self._lost.setdefault(chunk, message)
        if verdict.is_missing:
            self._missing.add(verdict.pack)
        elif verdict.bad or verdict.table_problem:
            self._impaired.add(verdict.pack)
            what = next(iter(verdict.bad.values()), verdict.table_problem)
            self._note(f"pack {verdict.pack[:16]}: {what}")

    def _bytes_to_read(self, needed: Marks) -> int:
        return sum(
            int(lengths[among(needed, words_of(ids))].sum(dtype="u8"))
            for _, ids, _, lengths in self._repo.index.columns()
        )

    def _work(self, needed: Marks) -> Iterator[tuple[PackId, list[Entry]]]:
        """Every pack that has needed chunks, with them in the order in which they lie there. Bounded memory."""
        self._repo.index.compact()
        names = self._repo.index.pack_names()
        step = max(_SMALLEST_BATCH, -(-len(names) // _BATCHES))
        for first in range(0, len(names), step):
            ids, rows = self._rows(needed, first, first + step)
            if not len(rows):
                continue
            order = np.lexsort((rows["offset"], rows["pack"]))
            ids, rows = ids[order], rows[order]
            starts = np.flatnonzero(np.diff(rows["pack"], prepend=-1)).tolist()
            for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
                pack = names[int(rows["pack"][start])]
                wanted = [
                    (ChunkId(ids[at].tobytes()), self._repo.index.place(rows[at])) for at in range(start, end)
                ]
                yield pack, wanted

    def _rows(self, needed: Marks, first: int, end: int) -> tuple[Any, Any]:
        """Ids and places of the needed chunks in packs of these numbers."""
        pieces = []
        for ids, rows in self._repo.index.rows():
            at = np.flatnonzero((rows["pack"] >= first) & (rows["pack"] < end))
            at = at[among(needed, words_of(ids[at]))]
            pieces.append((ids[at], rows[at]))
        if not pieces:
            return np.empty(0, "V32"), np.empty(0, [("pack", "<u4"), ("offset", "<u4")])
        return np.concatenate([p[0] for p in pieces]), np.concatenate([p[1] for p in pieces])

    # --- what was found

    def _settle(self) -> None:
        """Of what seems lost, drop that of which a good copy is found after all.

        A pack that has vanished since the index was read, and is not in the index any more, was collected.
        """
        if not self._lost and not self._missing:
            return
        self._repo.reload()
        self._missing &= self._repo.index.packs()
        for chunk in list(self._lost):
            self._cancel.check()
            problem = _problem(partial(self._repo.read_chunk, chunk))
            if problem:
                self._lost[chunk] = problem
            else:
                del self._lost[chunk]

    def _name(self) -> None:
        """Name the ranges of the disks that need what is lost, or has another length than it should."""
        if not self._lost and not self._lengths:
            return
        suspects = np.array(sorted({*self._lost, *self._lengths}), "S32")
        for disk in self._disks:
            self._cancel.check()
            problem = _problem(partial(self._name_ranges, disk, suspects))
            if problem and self._repo.exists(disk.point):
                self._damages.append(self._damage(disk, 0, 0, problem))

    def _name_ranges(self, disk: _Disk, suspects: Any) -> None:
        disk_map = self._repo.open_map(disk.point, disk.key)
        size, capacity = disk_map.chunk_size_bytes, disk_map.capacity_bytes
        ranges = _ranges(self._found(disk_map, suspects))
        for first, count, message in islice(ranges, _MOST_RANGES):
            length = min((first + count) * size, capacity) - first * size
            self._damages.append(self._damage(disk, first * size, length, message))
        if next(ranges, None):
            self._damages.append(
                self._damage(disk, 0, 0, f"and more: only {_MOST_RANGES} ranges are told apart")
            )

    def _found(self, disk_map: DiskMap, suspects: Any) -> Iterator[tuple[int, str]]:
        """The chunks of a disk that are damaged, ascending: number, and what is wrong."""
        size, capacity = disk_map.chunk_size_bytes, disk_map.capacity_bytes
        for numbers, ids in _ids_of(disk_map):
            for at in np.flatnonzero(np.isin(np.frombuffer(ids, "S32"), suspects)).tolist():
                chunk = ChunkId(ids[at * ID_BYTES : (at + 1) * ID_BYTES])
                number = int(numbers[at])
                wanted = min(size, capacity - number * size)
                message = self._lost.get(chunk) or self._wrong_length(chunk, wanted)
                if message:
                    yield number, message

    def _wrong_length(self, chunk: ChunkId, wanted: int) -> str:
        length = self._lengths.get(chunk, self._repo.config.chunk_size_bytes)
        return "" if length == wanted else f"chunk {chunk.hex()[:16]} has {length} bytes, not {wanted}"

    def _damage(self, disk: _Disk, start: int, length: int, message: str) -> Damage:
        point = disk.point
        return Damage(
            point.restore_point_id, point.vm_name, disk.key, start, length, message, disk.entry.path
        )

    def _note(self, message: str) -> None:
        self._notes.append(message)
        self._progress.note(message)


def _ids_of(disk_map: DiskMap) -> Iterator[tuple[Any, bytes]]:
    """The numbers and ids of the chunks that are not zeros, tens of thousands at a time."""
    for first in range(0, disk_map.segments, _SEGMENTS):
        numbers = range(first, min(first + _SEGMENTS, disk_map.segments))
        if all(disk_map.is_zero_segment(number) for number in numbers):
            continue
        ids = b"".join(disk_map.segment(number) for number in numbers)
        used = np.flatnonzero(np.frombuffer(ids, "<u8").reshape(-1, ID_BYTES // 8).any(axis=1))
        if len(used) and int(used[-1]) + first * SEGMENT_IDS >= disk_map.count:
            raise DamagedError(f"{disk_map.key} has chunks past its disk's end")
        yield used + first * SEGMENT_IDS, np.frombuffer(ids, "V32")[used].tobytes()


def _problem(look: Callable[[], object]) -> str:
    """The message of the damage that looking meets; empty where it meets none. Other errors go on."""
    try:
        look()
    except (DamagedError, NotFoundError) as error:
        return error.message
    return ""


def _ranges(found: Iterable[tuple[int, str]]) -> Iterator[tuple[int, int, str]]:
    """First chunk, how many, what is wrong: of neighbouring damaged chunks."""
    first, count, message = -1, 0, ""
    for index, what in found:
        if count and index == first + count:
            count += 1
            continue
        if count:
            yield first, count, message
        first, count, message = index, 1, what
    if count:
        yield first, count, message
