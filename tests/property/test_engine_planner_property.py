"""The planner's invariant: its steps, applied to old bytes with ranges filled from new bytes, give new bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vbm.disk.extents import Extent, align_out, merge, total_bytes
from vbm.engine.geometry import Geometry
from vbm.engine.planner import Plan, PlanRequest, StepKind, bounded, plan

KIB = 1024
CHUNK = 256 * KIB
GRAIN = 64 * KIB


@st.composite
def disks(draw: st.DrawFn) -> tuple[Geometry, list[Extent]]:
    sectors = draw(st.integers(1, 12 * CHUNK // 512))
    capacity = sectors * 512
    starts = draw(st.lists(st.integers(0, sectors - 1), max_size=12))
    areas = []
    for start in starts:
        length = draw(st.integers(1, min(sectors - start, 5 * CHUNK // 512)))
        areas.append(Extent(start * 512, length * 512))
    return Geometry(capacity, CHUNK), areas


def _apply(made: Plan, old: bytes, new: bytes) -> bytes:
    geometry = made.request.geometry
    result = bytearray(geometry.capacity_bytes)
    expected_next = 0
    for step in made.steps():
        assert step.first == expected_next
        assert step.count > 0
        expected_next = step.end
        run = geometry.run(step.first, step.count)
        if step.kind in (StepKind.REUSE, StepKind.PATCH):
            result[run.start : run.end] = old[run.start : run.end]
        position = run.start
        for part in step.ranges:
            assert position <= part.start
            assert part.end <= run.end
            position = part.end
            result[part.start : part.end] = new[part.start : part.end]
        if step.kind is StepKind.READ:
            assert total_bytes(step.ranges) == run.length
        if step.kind in (StepKind.READ, StepKind.PATCH):
            assert run.length <= max(made.request.buffer_bytes, CHUNK)
    assert expected_next == geometry.count
    return bytes(result)


def _pattern(capacity: int, value: int) -> bytes:
    return bytes([value]) * capacity


def _changed(old: bytes, areas: list[Extent], value: int) -> bytes:
    new = bytearray(old)
    for area in areas:
        new[area.start : area.end] = bytes([value]) * area.length
    return bytes(new)


@given(disks(), st.sampled_from([CHUNK, 3 * CHUNK, 8 * CHUNK]), st.booleans())
@settings(max_examples=150)
def test_an_incremental_plan_applied_to_old_bytes_gives_new_bytes(
    disk: tuple[Geometry, list[Extent]], buffer_bytes: int, random_read: bool
) -> None:
    geometry, areas = disk
    old = _pattern(geometry.capacity_bytes, 1)
    new = _changed(old, areas, 2)
    made = plan(
        PlanRequest(
            geometry, tuple(areas), from_base=True, random_read=random_read, buffer_bytes=buffer_bytes
        )
    )
    assert _apply(made, old, new) == new


@given(disks())
@settings(max_examples=80)
def test_a_full_plan_applied_to_zeros_gives_the_disk(disk: tuple[Geometry, list[Extent]]) -> None:
    geometry, areas = disk
    new = _changed(_pattern(geometry.capacity_bytes, 0), areas, 2)
    made = plan(PlanRequest(geometry, tuple(areas), from_base=False, buffer_bytes=2 * CHUNK))
    assert _apply(made, b"", new) == new


@given(disks(), st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)))
@settings(max_examples=100)
def test_lost_chunks_are_read_whole_and_finished_ones_not_at_all(
    disk: tuple[Geometry, list[Extent]], lost: set[int], done: set[int]
) -> None:
    geometry, areas = disk
    lost = {c for c in lost if c < geometry.count}
    done = {c for c in done if c < geometry.count}
    made = plan(
        PlanRequest(
            geometry,
            tuple(areas),
            from_base=True,
            chunks=tuple(geometry.run(c, 1) for c in sorted(lost)),
            done=tuple(geometry.run(c, 1) for c in sorted(done)),
        )
    )
    whole: set[int] = set()
    for step in made.reads():
        chunks = set(range(step.first, step.end))
        assert not chunks & done
        for chunk in chunks:
            run = geometry.run(chunk, 1)
            if any(r.start <= run.start and run.end <= r.end for r in step.ranges):
                whole.add(chunk)
    assert lost - done <= whole


@given(disks())
@settings(max_examples=150)
def test_bytes_read_stay_within_a_tenth_of_the_changed_bytes(disk: tuple[Geometry, list[Extent]]) -> None:
    geometry, areas = disk
    made = plan(PlanRequest(geometry, tuple(areas), from_base=True))
    changed = total_bytes(align_out(areas, GRAIN, geometry.capacity_bytes))
    assert sum(step.read_bytes for step in made.reads()) == made.read_bytes()
    assert changed <= made.read_bytes() <= 1.1 * changed


@given(disks(), st.integers(1, 5))
@settings(max_examples=60)
def test_a_bounded_list_covers_all_it_was_given(disk: tuple[Geometry, list[Extent]], limit: int) -> None:
    _, areas = disk
    short = bounded(areas, limit)
    assert len(short) <= limit
    assert merge([*short, *areas]) == short
