"""Which bytes of a disk are read, and where the rest of a restore point's chunks comes from. Pure.

Invariant: let *old* be the bytes of the base (the previous restore point's disk, or zeros) and *new* the disk's
bytes now, and let every byte where they differ lie in ``areas`` or ``chunks``. Then applying the plan's steps to
*old*, filling the ranges of each step from *new*, gives *new*. The steps ascend and cover each chunk exactly once.

Cost: steps and memory grow with the number of areas, never with the capacity: untouched chunks are one step a run.

What is read over the network is kept within 1.1 times the changed bytes (64 KiB grain): a chunk whose changed
bytes are at least 10/11 of it is read whole; any other has only its changed ranges read, and the previous chunk,
which costs a read of the repository, fills the rest. Where the base is zeros nothing is patched: whole chunks are
read, because allocation is coarse and long requests are faster. So it is for a source that is a stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from vbm.disk.extents import Extent, align_out, clip, merge, subtract
from vbm.engine.geometry import Geometry
from vbm.units import KIB

GRAIN: Final = 64 * KIB  # of change tracking: nothing smaller is told apart
WHOLE_NUMERATOR: Final = 10  # a chunk changed by 10/11 or more is read whole
WHOLE_DENOMINATOR: Final = 11
AREAS_LIMIT: Final = 200_000  # longer lists are merged, to keep memory bounded


class StepKind(Enum):
    READ = "read"  # every byte of the run comes from the source
    PATCH = "patch"  # the ranges come from the source, the rest from the base's chunks
    REUSE = "reuse"  # the base's chunks, as they are
    ZERO = "zero"  # zeros


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to ``count`` chunks from ``first`` on. ``ranges`` ascend and lie within the run."""

    kind: StepKind
    first: int
    count: int
    ranges: tuple[Extent, ...] = ()

    @property
    def end(self) -> int:
        return self.first + self.count

    @property
    def read_bytes(self) -> int:
        return sum(r.length for r in self.ranges)


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """``areas``: what may differ from the base, in any order. ``chunks``: chunk-aligned, to be read whole (lost
    in the repository). ``done``: chunk-aligned, already handled and not to be read again (a resumed run).
    ``from_base`` False: the base is zeros and ``areas`` are the allocated ones. ``buffer_bytes`` bounds a step.
    """

    geometry: Geometry
    areas: tuple[Extent, ...]
    from_base: bool
    random_read: bool = True
    buffer_bytes: int = 4 * 1024 * KIB
    chunks: tuple[Extent, ...] = ()
    done: tuple[Extent, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps on demand, the same each time they are asked for."""

    request: PlanRequest
    areas: tuple[Extent, ...] = field(repr=False)  # normal, within capacity, at the grain of what is read

    def steps(self) -> Iterator[Step]:
        """READ, PATCH and REUSE or ZERO steps, covering all chunks in ascending order."""
        geometry = self.request.geometry
        rest = StepKind.REUSE if self.request.from_base else StepKind.ZERO
        position = 0
        for step in self.reads():
            if step.first > position:
                yield Step(rest, position, step.first - position)
            yield step
            position = step.end
        if position < geometry.count:
            yield Step(rest, position, geometry.count - position)

    def reads(self) -> Iterator[Step]:
        """The READ and PATCH steps alone, each at most ``buffer_bytes`` long or one chunk."""
        geometry = self.request.geometry
        most = max(1, self.request.buffer_bytes // geometry.chunk_bytes)
        yield from _join(_pieces(self.areas, geometry), geometry, most)

    def read_bytes(self) -> int:
        """What the source will be asked for in all."""
        return sum(piece.read_bytes for piece in _pieces(self.areas, self.request.geometry))

    def untouched(self) -> list[Extent]:
        """The chunk-aligned ranges of which nothing is read."""
        geometry = self.request.geometry
        touched = align_out(self.areas, geometry.chunk_bytes, geometry.capacity_bytes)
        return subtract([Extent(0, geometry.capacity_bytes)] if geometry.count else [], touched)


def plan(request: PlanRequest) -> Plan:
    """The plan for one disk; see the module's invariant."""
    geometry = request.geometry
    exact = request.from_base and request.random_read
    grain = min(GRAIN, geometry.chunk_bytes) if exact else geometry.chunk_bytes
    wanted = align_out(bounded(request.areas), grain, geometry.capacity_bytes)
    if request.chunks:
        wanted = merge([*wanted, *clip(request.chunks, geometry.capacity_bytes)])
    if request.done:
        wanted = subtract(wanted, request.done)
    return Plan(request, tuple(wanted))


def bounded(areas: Iterable[Extent], limit: int = AREAS_LIMIT) -> list[Extent]:
    """The areas as a normal list of at most ``limit``: small gaps are closed, doubling until they fit."""
    merged = merge(areas)
    gap = GRAIN
    while len(merged) > limit:
        merged = merge(merged, gap)
        gap *= 2
    return merged


def _pieces(areas: Iterable[Extent], geometry: Geometry) -> Iterator[Step]:
    """Each area cut at chunk edges: runs of whole chunks, and single chunks with the ranges within them."""
    parts: list[Extent] = []
    for area in areas:
        start = area.start
        while start < area.end:
            chunk = start // geometry.chunk_bytes
            if parts and parts[0].start // geometry.chunk_bytes != chunk:
                yield _single(parts, geometry)
                parts = []
            whole = _whole_chunks(start, area.end, geometry)
            if whole:
                run = geometry.run(chunk, whole)
                yield Step(StepKind.READ, chunk, whole, (run,))
                start = run.end
                continue
            end = min(area.end, geometry.end(chunk))
            parts.append(Extent(start, end - start))
            start = end
    if parts:
        yield _single(parts, geometry)


def _whole_chunks(start: int, end: int, geometry: Geometry) -> int:
    """How many whole chunks begin at ``start`` and end by ``end``; 0 where ``start`` is inside a chunk."""
    if start % geometry.chunk_bytes:
        return 0
    if end >= geometry.capacity_bytes:
        return geometry.count - start // geometry.chunk_bytes
    return (end - start) // geometry.chunk_bytes


def _single(parts: list[Extent], geometry: Geometry) -> Step:
    chunk = parts[0].start // geometry.chunk_bytes
    changed, length = sum(p.length for p in parts), geometry.length(chunk)
    if changed * WHOLE_DENOMINATOR >= length * WHOLE_NUMERATOR:
        return Step(StepKind.READ, chunk, 1, (geometry.run(chunk, 1),))
    return Step(StepKind.PATCH, chunk, 1, tuple(parts))


def _join(pieces: Iterable[Step], geometry: Geometry, most: int) -> Iterator[Step]:
    """Neighbours whose ranges touch become one step, so that one request reads across chunk edges."""
    waiting: Step | None = None
    for piece in _cut(pieces, geometry, most):
        if waiting is not None and _joinable(waiting, piece, most):
            waiting = _joined(waiting, piece)
            continue
        if waiting is not None:
            yield waiting
        waiting = piece
    if waiting is not None:
        yield waiting


def _cut(pieces: Iterable[Step], geometry: Geometry, most: int) -> Iterator[Step]:
    for piece in pieces:
        if piece.count <= most:
            yield piece
            continue
        for first in range(piece.first, piece.end, most):
            count = min(most, piece.end - first)
            yield Step(piece.kind, first, count, (geometry.run(first, count),))


def _joinable(one: Step, two: Step, most: int) -> bool:
    touching = one.ranges[-1].end == two.ranges[0].start
    return touching and one.end == two.first and one.count + two.count <= most


def _joined(one: Step, two: Step) -> Step:
    left, right = one.ranges[-1], two.ranges[0]
    middle = Extent(left.start, left.length + right.length)
    kind = StepKind.READ if one.kind is two.kind is StepKind.READ else StepKind.PATCH
    return Step(kind, one.first, one.count + two.count, (*one.ranges[:-1], middle, *two.ranges[1:]))
