"""Moves the bytes of one disk from a reader into a repository: a few threads, each with one buffer of its own.

Each worker takes the next step of the plan, reads its ranges into its buffer, completes partly changed chunks from
the base, and hands chunk after chunk to the sink, which hashes, compresses and encrypts outside the interpreter's
lock. While one worker computes, another reads. Memory: ``workers`` buffers, whatever the disk's size.

A source that is a stream is read by one worker at a time, in order, while the others work on what they have read.
The first error of any worker stops all of them, after the range each is at, and is the one raised.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final, Protocol

from vbm.cancel import CancelToken
from vbm.disk.extents import Extent, clip, total_bytes
from vbm.disk.reader import DiskReader
from vbm.engine.planner import Plan, Step, StepKind
from vbm.engine.pool import run_pool
from vbm.engine.rate_limit import RateLimit
from vbm.errors import DamagedError, NotFoundError
from vbm.ids import ZERO_CHUNK, ChunkId, DiskKey
from vbm.progress import Progress
from vbm.units import MIB

WORKERS: Final = 4  # enough to keep two cores busy while some wait for the network
BUFFERS_BYTES: Final = 32 * MIB  # of all workers together


class StoredChunk(Protocol):
    @property
    def id(self) -> ChunkId: ...
    @property
    def is_new(self) -> bool: ...
    @property
    def stored_bytes(self) -> int: ...


class ChunkSink(Protocol):
    """Where chunks go. Thread-safe; ``data`` may be reused by the caller once ``put_chunk`` has returned."""

    def put_chunk(self, data: memoryview) -> StoredChunk: ...


class ChunkMap(Protocol):
    """The new disk map. Thread-safe; what is never set comes from the base, or is zeros."""

    def set(self, index: int, chunk_id: ChunkId) -> None: ...


class Base(Protocol):
    """The previous restore point's disk. Thread-safe. ``read`` raises DamagedError or NotFoundError."""

    def id(self, index: int) -> ChunkId: ...

    def read(self, chunk_id: ChunkId) -> bytes: ...


class Journal(Protocol):
    """Told of finished chunks, so that an interrupted read can be resumed. Thread-safe."""

    def add(self, key: DiskKey, first: int, ids: list[ChunkId]) -> None: ...


class NoJournal:
    """Keeps nothing."""

    def add(self, key: DiskKey, first: int, ids: list[ChunkId]) -> None:
        pass


@dataclass(frozen=True, slots=True)
class CopyTask:
    """One disk's work. ``base`` None means zeros."""

    key: DiskKey
    reader: DiskReader
    plan: Plan
    target: ChunkMap
    base: Base | None = None


@dataclass(slots=True)
class CopyStats:
    """What one disk cost: bytes as the source, the disk and the repository see them."""

    bytes_read: int = 0
    bytes_zero: int = 0  # of those read: whole chunks of zeros
    bytes_new: int = 0  # stored in the repository, after compression
    chunks_new: int = 0
    chunks_done: int = 0
    chunks_healed: int = (
        0  # previous chunks that could not be read back and were read from the source instead
    )

    def add(self, other: CopyStats) -> None:
        self.bytes_read += other.bytes_read
        self.bytes_zero += other.bytes_zero
        self.bytes_new += other.bytes_new
        self.chunks_new += other.chunks_new
        self.chunks_done += other.chunks_done
        self.chunks_healed += other.chunks_healed


@dataclass(frozen=True, slots=True)
class Pace:
    """How hard the source may be worked: threads, reads at a time, bytes a second."""

    limit: RateLimit
    workers: int = WORKERS
    parallel_reads: int = WORKERS


def buffer_bytes(range_bytes: int, chunk_bytes: int, workers: int = WORKERS) -> int:
    """The size of one worker's buffer: the range that suits the source, within the memory for all of them."""
    share = BUFFERS_BYTES // workers
    return max(chunk_bytes, min(range_bytes, share) // chunk_bytes * chunk_bytes)


class Copier:
    """Copies disks one after another, each with all workers. One thread calls it."""

    def __init__(
        self,
        sink: ChunkSink,
        pace: Pace,
        progress: Progress,
        cancel: CancelToken,
        journal: Journal | None = None,
    ) -> None:
        self._sink = sink
        self._pace = pace
        self._progress = progress
        self._cancel = cancel
        self._journal = journal or NoJournal()

    def copy(self, task: CopyTask) -> CopyStats:
        """Carry the plan out. On return each chunk that it reads is set in ``task.target``.

        Raises the first error met: the reader's, the sink's, or CancelledError.
        """
        shared = _Shared(task.plan.reads())
        permits = threading.BoundedSemaphore(max(1, min(self._pace.parallel_reads, self._pace.workers)))
        run_pool(
            self._pace.workers,
            lambda stop: self._work(task, shared, permits, stop),
            f"copy disk {task.key}",
        )
        return shared.stats

    def _work(
        self, task: CopyTask, shared: _Shared, permits: threading.BoundedSemaphore, stop: threading.Event
    ) -> None:
        request = task.plan.request
        size = max(request.buffer_bytes, request.geometry.chunk_bytes)
        buffer = memoryview(bytearray(min(size, max(1, request.geometry.capacity_bytes))))
        turn: AbstractContextManager[object] = nullcontext() if task.reader.random_read else shared.turn
        stats = CopyStats()
        while not stop.is_set():
            with turn:
                step = shared.next()
                if step is None:
                    break
                self._cancel.check()
                self._fill(task, step, buffer, permits, stats)
            self._store(task, step, buffer, stats)
            self._progress.advance(task.key, step.read_bytes)
        shared.finish(stats)

    def _fill(
        self,
        task: CopyTask,
        step: Step,
        buffer: memoryview,
        permits: threading.BoundedSemaphore,
        stats: CopyStats,
    ) -> None:
        """The step's new bytes, complete, at the start of the buffer."""
        ranges = step.ranges
        if step.kind is StepKind.PATCH:
            ranges = (*ranges, *self._from_base(task, step, buffer, stats))
        origin = task.plan.request.geometry.start(step.first)
        for wanted in ranges:
            self._pace.limit.take(wanted.length, self._cancel)
            with permits:
                self._cancel.check()
                task.reader.readinto(wanted.start, buffer[wanted.start - origin : wanted.end - origin])
            stats.bytes_read += wanted.length

    def _from_base(
        self, task: CopyTask, step: Step, buffer: memoryview, stats: CopyStats
    ) -> tuple[Extent, ...]:
        """Put the base's chunks where the ranges don't cover them; answers the chunks to be read whole instead."""
        geometry = task.plan.request.geometry
        lost: list[Extent] = []
        for chunk in range(step.first, step.end):
            whole = geometry.run(chunk, 1)
            if total_bytes(clip(step.ranges, whole.end, whole.start)) == whole.length:
                continue
            at = whole.start - geometry.start(step.first)
            if not self._copy_previous(task.base, chunk, buffer[at : at + whole.length]):
                lost.append(whole)
                stats.chunks_healed += 1
        return tuple(lost)

    def _copy_previous(self, base: Base | None, chunk: int, into: memoryview) -> bool:
        """False where the repository can't give it back whole: then the source must."""
        chunk_id = ZERO_CHUNK if base is None else base.id(chunk)
        if base is None or chunk_id == ZERO_CHUNK:
            into[:] = bytes(len(into))
            return True
        try:
            data = base.read(chunk_id)
        except (DamagedError, NotFoundError) as error:
            self._progress.note(f"chunk {chunk} is damaged in the repository and is read again: {error}")
            return False
        if len(data) != len(into):
            return False
        into[:] = data
        return True

    def _store(self, task: CopyTask, step: Step, buffer: memoryview, stats: CopyStats) -> None:
        geometry = task.plan.request.geometry
        ids: list[ChunkId] = []
        at = 0
        for chunk in range(step.first, step.end):
            length = geometry.length(chunk)
            stored = self._sink.put_chunk(buffer[at : at + length])
            task.target.set(chunk, stored.id)
            ids.append(stored.id)
            at += length
            if stored.id == ZERO_CHUNK:
                stats.bytes_zero += length
            elif stored.is_new:
                stats.chunks_new += 1
                stats.bytes_new += stored.stored_bytes
        stats.chunks_done += len(ids)
        self._journal.add(task.key, step.first, ids)


@dataclass(slots=True)
class _Shared:
    """What the workers of one disk share."""

    steps: Iterator[Step]
    stats: CopyStats = field(default_factory=CopyStats)
    turn: threading.Lock = field(default_factory=threading.Lock)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> Step | None:
        with self.lock:
            return next(self.steps, None)

    def finish(self, stats: CopyStats) -> None:
        with self.lock:
            self.stats.add(stats)
