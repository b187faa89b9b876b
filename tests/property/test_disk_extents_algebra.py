"""The algebra of extents against sets of bytes."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from vbm.disk.extents import (
    Extent,
    ExtentKind,
    align_out,
    clip,
    coalesce,
    complement,
    cover,
    intersect,
    merge,
    normalise,
    subtract,
    total_bytes,
)

CAPACITY = 120
KINDS = st.sampled_from(ExtentKind)
EXTENTS = st.lists(st.builds(Extent, st.integers(0, 100), st.integers(1, 20), KINDS), max_size=12)


def painted(extents: list[Extent]) -> dict[int, ExtentKind]:
    """Each byte's kind; DATA wins."""
    found: dict[int, ExtentKind] = {}
    for extent in sorted(extents, key=lambda e: e.kind is ExtentKind.DATA):
        found |= dict.fromkeys(range(extent.start, extent.end), extent.kind)
    return found


def data(extents: list[Extent]) -> set[int]:
    return {byte for byte, kind in painted(extents).items() if kind is ExtentKind.DATA}


def assert_normal(extents: list[Extent]) -> None:
    for one, two in itertools.pairwise(extents):
        assert one.end < two.start or (one.end == two.start and one.kind is not two.kind)
    assert all(extent.length > 0 for extent in extents)


@given(EXTENTS)
def test_normalise_keeps_every_byte_and_its_kind(extents: list[Extent]) -> None:
    normal = normalise(extents)
    assert_normal(normal)
    assert painted(normal) == painted(extents)
    assert list(coalesce(normal)) == normal
    assert total_bytes(normal) == len(painted(extents))
    assert total_bytes(normal, ExtentKind.DATA) == len(data(extents))


@given(EXTENTS, EXTENTS)
def test_intersect_and_subtract_split_by_what_the_other_covers(one: list[Extent], two: list[Extent]) -> None:
    common, left = intersect(one, two), subtract(one, two)
    assert_normal(common)
    assert_normal(left)
    covered = painted(two).keys()
    assert painted(common) == {b: k for b, k in painted(one).items() if b in covered}
    assert painted(left) == {b: k for b, k in painted(one).items() if b not in covered}


@given(EXTENTS, st.integers(0, 10))
def test_merge_bridges_gaps_of_that_size_and_no_larger(extents: list[Extent], gap: int) -> None:
    merged = merge(extents, gap)
    assert data(extents) <= data(merged)
    assert all(two.start - one.end > gap for one, two in itertools.pairwise(merged))
    filled = data(merged) - data(extents)
    for hole in complement([Extent(b, 1) for b in data(extents)], CAPACITY):
        inside = {byte for byte in range(hole.start, hole.end) if byte in filled}
        assert not inside or (len(inside) == hole.length <= gap)


@given(EXTENTS, st.integers(1, 16), st.integers(1, CAPACITY))
def test_align_out_covers_whole_grains_within_the_disk(
    extents: list[Extent], grain: int, capacity: int
) -> None:
    aligned = align_out(extents, grain, capacity)
    assert_normal(aligned)
    grains = {byte // grain for byte in data(extents) if byte < capacity}
    assert data(aligned) == {byte for byte in range(capacity) if byte // grain in grains}


@given(EXTENTS, st.integers(0, CAPACITY))
def test_cover_tells_every_byte_of_the_disk(extents: list[Extent], capacity: int) -> None:
    whole = cover(extents, capacity)
    assert_normal(whole)
    assert sorted(painted(whole)) == list(range(capacity))
    assert data(whole) == {byte for byte in data(extents) if byte < capacity}
    assert painted(complement(extents, capacity)).keys() == set(range(capacity)) - painted(extents).keys()


@given(EXTENTS, st.integers(0, CAPACITY), st.integers(0, CAPACITY))
def test_clip_keeps_what_lies_in_the_window(extents: list[Extent], start: int, end: int) -> None:
    assert painted(clip(extents, end, start)) == {
        b: k for b, k in painted(extents).items() if start <= b < end
    }
