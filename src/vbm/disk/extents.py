"""Ranges of a disk: what holds data, what reads as zeros, what changed.

Functions take extents in any order unless they say otherwise and answer them *normal*: ascending, disjoint,
neighbours of one kind joined. All are O(n log n).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum


class ExtentKind(Enum):
    DATA = "data"  # must be read
    ZERO = "zero"  # reads as zeros; need not be read


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """``length`` > 0 bytes from ``start`` ≥ 0, all of one kind."""

    start: int
    length: int
    kind: ExtentKind = ExtentKind.DATA

    @property
    def end(self) -> int:
        return self.start + self.length


Span = tuple[int, int]  # start, end


def normalise(extents: Iterable[Extent]) -> list[Extent]:
    """The same bytes as a normal list; where DATA and ZERO overlap it is DATA: reading it is always right."""
    given = list(extents)
    data = _union((e.start, e.end) for e in given if e.kind is ExtentKind.DATA)
    zero = _union((e.start, e.end) for e in given if e.kind is ExtentKind.ZERO)
    if not zero:
        return [Extent(start, end - start) for start, end in data]
    return _sorted([*_extents(data, ExtentKind.DATA), *_extents(_minus(zero, data), ExtentKind.ZERO)])


def merge(extents: Iterable[Extent], gap: int = 0) -> list[Extent]:
    """The DATA extents, joined where at most ``gap`` bytes lie between them. ZERO extents are dropped."""
    spans = _union(((e.start, e.end) for e in extents if e.kind is ExtentKind.DATA), gap)
    return [Extent(start, end - start) for start, end in spans]


def align_out(extents: Iterable[Extent], grain: int, capacity: int) -> list[Extent]:
    """The DATA extents grown to multiples of ``grain``, cut at ``capacity``. ZERO extents are dropped."""
    spans = _union(
        (e.start // grain * grain, min(capacity, -(-e.end // grain) * grain))
        for e in extents
        if e.kind is ExtentKind.DATA and e.start < capacity
    )
    return [Extent(start, end - start) for start, end in spans]


def intersect(extents: Iterable[Extent], other: Iterable[Extent]) -> list[Extent]:
    """The parts of ``extents``, each of its own kind, that ``other`` covers with whatever kind."""
    return _per_kind(extents, lambda spans, cover: list(_common(spans, cover)), other)


def subtract(extents: Iterable[Extent], other: Iterable[Extent]) -> list[Extent]:
    """The parts of ``extents``, each of its own kind, that ``other`` does not cover with whatever kind."""
    return _per_kind(extents, _minus, other)


def complement(extents: Iterable[Extent], capacity: int, kind: ExtentKind = ExtentKind.DATA) -> list[Extent]:
    """What the extents, of whatever kind, leave uncovered of ``[0, capacity)``, as extents of ``kind``."""
    return _extents(_minus([(0, capacity)] if capacity else [], _union(map(_span, extents))), kind)


def clip(extents: Iterable[Extent], end: int, start: int = 0) -> list[Extent]:
    """The parts that lie in ``[start, end)``."""
    return intersect(extents, [Extent(start, end - start)] if end > start else [])


def total_bytes(extents: Iterable[Extent], kind: ExtentKind | None = None) -> int:
    """The sum of lengths, of one kind or of all. Overlaps count twice: normalise first."""
    return sum(e.length for e in extents if kind is None or e.kind is kind)


def cover(extents: Iterable[Extent], capacity: int) -> list[Extent]:
    """DATA as given and ZERO everywhere else, covering ``[0, capacity)`` without a gap."""
    data = merge(clip(extents, capacity))
    return _sorted([*data, *complement(data, capacity, ExtentKind.ZERO)])


def coalesce(ascending: Iterable[Extent]) -> Iterator[Extent]:
    """Neighbours of one kind joined, lazily. The input is ascending and disjoint."""
    last: Extent | None = None
    for extent in ascending:
        if last is not None and last.end == extent.start and last.kind is extent.kind:
            last = Extent(last.start, last.length + extent.length, last.kind)
            continue
        if last is not None:
            yield last
        last = extent
    if last is not None:
        yield last


def _span(extent: Extent) -> Span:
    return extent.start, extent.end


def _extents(spans: Iterable[Span], kind: ExtentKind) -> list[Extent]:
    return [Extent(start, end - start, kind) for start, end in spans]


def _sorted(extents: list[Extent]) -> list[Extent]:
    return sorted(extents, key=lambda extent: extent.start)


def _per_kind(
    extents: Iterable[Extent],
    operation: Callable[[list[Span], list[Span]], list[Span]],
    other: Iterable[Extent],
) -> list[Extent]:
    normal = normalise(extents)
    operand = _union(map(_span, other))
    found: list[Extent] = []
    for kind in ExtentKind:
        spans = [_span(e) for e in normal if e.kind is kind]
        found += _extents(operation(spans, operand), kind)
    return _sorted(found)


def _union(spans: Iterable[Span], gap: int = 0) -> list[Span]:
    """Ascending, disjoint; spans at most ``gap`` apart become one."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if start >= end:
            continue
        if joined and start - joined[-1][1] <= gap:
            if end > joined[-1][1]:
                joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _common(one: list[Span], two: list[Span]) -> Iterator[Span]:
    i = j = 0
    while i < len(one) and j < len(two):
        start, end = max(one[i][0], two[j][0]), min(one[i][1], two[j][1])
        if start < end:
            yield start, end
        if one[i][1] < two[j][1]:
            i += 1
        else:
            j += 1


def _minus(one: list[Span], two: list[Span]) -> list[Span]:
    left: list[Span] = []
    j = 0
    for first, end in one:
        start = first
        while j < len(two) and two[j][1] <= start:
            j += 1
        k = j
        while k < len(two) and two[k][0] < end:
            if start < two[k][0]:
                left.append((start, two[k][0]))
            start = max(start, two[k][1])
            k += 1
        if start < end:
            left.append((start, end))
    return left
