"""Verify: every restore point's documents, maps and chunks are read back and checked against their hashes.

*Quick* reads manifests, files and maps and looks each chunk up in the index. *Full* reads, decrypts and hashes
each chunk too, each only once, however many restore points use it. Every restore point, disk and range that
damage touches is named; one damaged thing does not keep the rest from being looked at.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from vbm.cancel import CancelToken
from vbm.engine.pool import run_pool
from vbm.errors import DamagedError, NotFoundError, VbmError
from vbm.ids import ChunkId, DiskKey
from vbm.progress import Progress
from vbm.repository.damage import record_damaged
from vbm.repository.disk_map import DiskMap, checksum
from vbm.repository.manifest import FileEntry, Manifest
from vbm.repository.repository import DamagedRestorePoint, Repository
from vbm.services import access
from vbm.services.access import Where
from vbm.services.workspace import Workspace
from vbm.units import format_size

_WORKERS: Final = 4
_MOST_RANGES: Final = 10_000  # of one disk that are told apart


@dataclass(frozen=True, slots=True)
class Damage:
    """One damaged place. ``disk_key`` None: not of a disk; ``length`` 0: the whole document."""

    restore_point: str
    vm_name: str
    disk_key: DiskKey | None
    offset: int
    length: int
    message: str


@dataclass(slots=True)
class Verified:
    """What was looked at and what was found."""

    restore_points: int = 0
    chunks_checked: int = 0
    bytes_checked: int = 0
    damages: list[Damage] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.damages

    @property
    def sentence(self) -> str:
        """For people: what was checked."""
        points = f"{self.restore_points} restore point{'' if self.restore_points == 1 else 's'} whole"
        read = f"{format_size(self.bytes_checked)} read back" if self.bytes_checked else "looked up, not read"
        return f"{points}: {self.chunks_checked} chunks, {read}"


def everything(
    workspace: Workspace, where: Where, progress: Progress, cancel: CancelToken, *, read_data: bool = True
) -> Verified:
    """Verify every restore point of one repository."""
    with access.one(workspace, where) as (_, repository):
        return verify(repository, repository.scan(), progress, cancel, read_data=read_data)


def verify(
    repository: Repository,
    points: Iterable[Manifest | DamagedRestorePoint],
    progress: Progress,
    cancel: CancelToken,
    *,
    read_data: bool,
) -> Verified:
    """Verify these restore points. Raises only what is no damage: CancelledError, an unreachable store.

    Damaged chunks are recorded in the repository, so that the next backup that has them stores them again.
    """
    state = _State(repository, progress, cancel, read_data)
    for point in points:
        cancel.check()
        state.result.restore_points += 1
        if isinstance(point, DamagedRestorePoint):
            state.damaged(Damage(point.id, point.vm, None, 0, 0, point.error.message))
            continue
        for entry in point.files:
            if entry.is_disk:
                state.disk(point, entry)
            else:
                state.file(point, entry)
    record_damaged(repository.store, state.bad_chunks)
    return state.result


class _State:
    """One verification: what is known good or bad so far."""

    def __init__(
        self, repository: Repository, progress: Progress, cancel: CancelToken, read_data: bool
    ) -> None:
        self.result = Verified()
        self._repository = repository
        self._progress = progress
        self._cancel = cancel
        self._read_data = read_data
        self._good: set[ChunkId] = set()
        self._bad: dict[ChunkId, str] = {}
        self._lock = threading.Lock()

    @property
    def bad_chunks(self) -> frozenset[ChunkId]:
        with self._lock:
            return frozenset(self._bad)

    def damaged(self, damage: Damage) -> None:
        self.result.damages.append(damage)

    def file(self, point: Manifest, entry: FileEntry) -> None:
        """Read a small file, which checks its hash."""
        problem = _problem(lambda: self._repository.read_file(point.restore_point_id, entry.path))
        if problem:
            self.damaged(Damage(point.restore_point_id, point.vm_name, None, 0, 0, problem))

    def disk(self, point: Manifest, entry: FileEntry) -> None:
        """Check a disk's map against its hash, then each chunk that it names."""
        assert entry.disk_key is not None  # noqa: S101 - the caller's case
        found: list[tuple[int, str]] = []
        problem = _problem(lambda: self._chunks(self._map(point, entry), entry, found))
        if problem:
            self.damaged(Damage(point.restore_point_id, point.vm_name, entry.disk_key, 0, 0, problem))
        size, capacity = self._repository.config.chunk_size_bytes, entry.capacity_bytes or 0
        for first, count, message in _ranges(found):
            start = first * size
            length = min((first + count) * size, capacity) - start
            self.damaged(
                Damage(point.restore_point_id, point.vm_name, entry.disk_key, start, length, message)
            )

    def _map(self, point: Manifest, entry: FileEntry) -> DiskMap:
        assert entry.disk_key is not None  # noqa: S101 - the caller's case
        disk_map = self._repository.open_map(point, entry.disk_key)
        if checksum(self._repository.store, disk_map.key) != entry.map_sha256:
            raise DamagedError(f"{disk_map.key} is not the map of its manifest")
        return disk_map

    def _chunks(self, disk_map: DiskMap, entry: FileEntry, found: list[tuple[int, str]]) -> None:
        key, label = DiskKey(entry.disk_key or 0), entry.label or entry.path
        self._progress.disk(key, label, disk_map.capacity_bytes)
        used = disk_map.used()

        def work(stop: threading.Event) -> None:
            while not stop.is_set():
                self._cancel.check()
                with self._lock:
                    index, chunk = next(used, (-1, ChunkId(b"")))
                if index < 0:
                    return
                start = index * disk_map.chunk_size_bytes
                length = min(disk_map.chunk_size_bytes, disk_map.capacity_bytes - start)
                message = self._chunk(chunk, length)
                if message:
                    with self._lock:
                        found.append((index, message))
                self._progress.advance(key, length)

        run_pool(_WORKERS if self._read_data else 1, work, f"verify {label}")

    def _chunk(self, chunk: ChunkId, length: int) -> str:
        """What is wrong with the chunk; empty where nothing is."""
        with self._lock:
            if chunk in self._good:
                return ""
            if chunk in self._bad:
                return self._bad[chunk]
        message, read = "", 0
        if self._read_data:
            try:
                read = len(self._repository.read_chunk(chunk))
            except (DamagedError, NotFoundError) as error:
                message = error.message
            if not message and read != length:
                message = f"chunk {chunk.hex()} has {read} bytes instead of {length}"
        elif chunk not in self._repository.index:
            message = f"chunk {chunk.hex()} is not in the index"
        with self._lock:
            self.result.chunks_checked += 1
            self.result.bytes_checked += read
            if message:
                self._bad[chunk] = message
            else:
                self._good.add(chunk)
        return message


def _problem(look: Callable[[], object]) -> str:
    """The message of the damage that looking meets; empty where it meets none. Other errors go on."""
    try:
        look()
    except VbmError as error:
        if isinstance(error, (DamagedError, NotFoundError)):
            return error.message
        raise
    return ""


def _ranges(found: list[tuple[int, str]]) -> Iterator[tuple[int, int, str]]:
    """(first chunk, how many, what is wrong) of neighbouring damaged chunks."""
    first, count, message = -1, 0, ""
    for index, what in sorted(found)[:_MOST_RANGES]:
        if count and index == first + count:
            count += 1
            continue
        if count:
            yield first, count, message
        first, count, message = index, 1, what
    if count:
        yield first, count, message
