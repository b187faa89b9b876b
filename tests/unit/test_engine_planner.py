"""The planner's choices, on small disks and on huge ones."""

from __future__ import annotations

from vbm.disk.extents import Extent
from vbm.engine.geometry import Geometry
from vbm.engine.planner import PlanRequest, Step, StepKind, plan

KIB, MIB, GIB, TIB = 1024, 1024**2, 1024**3, 1024**4


def _steps(capacity: int, *areas: tuple[int, int], chunk: int = MIB, buffer: int = 4 * MIB) -> list[Step]:
    request = PlanRequest(
        Geometry(capacity, chunk), tuple(Extent(*a) for a in areas), from_base=True, buffer_bytes=buffer
    )
    return list(plan(request).steps())


def test_nothing_changed_is_one_step() -> None:
    assert _steps(8 * TIB) == [Step(StepKind.REUSE, 0, 8 * 1024 * 1024)]


def test_a_small_change_is_a_patch_of_its_chunk() -> None:
    assert _steps(8 * MIB, (2 * MIB + 64 * KIB, 64 * KIB)) == [
        Step(StepKind.REUSE, 0, 2),
        Step(StepKind.PATCH, 2, 1, (Extent(2 * MIB + 64 * KIB, 64 * KIB),)),
        Step(StepKind.REUSE, 3, 5),
    ]


def test_a_chunk_changed_for_the_most_part_is_read_whole() -> None:
    assert _steps(MIB, (0, MIB - 64 * KIB)) == [Step(StepKind.READ, 0, 1, (Extent(0, MIB),))]


def test_an_area_across_a_chunk_edge_is_one_request() -> None:
    area = Extent(MIB - 64 * KIB, 128 * KIB)
    assert _steps(2 * MIB, (area.start, area.length)) == [Step(StepKind.PATCH, 0, 2, (area,))]


def test_long_runs_are_cut_at_the_buffer() -> None:
    assert [(s.first, s.count) for s in _steps(10 * MIB, (0, 10 * MIB))] == [(0, 4), (4, 4), (8, 2)]


def test_a_full_with_known_allocation_reads_whole_chunks_and_leaves_holes() -> None:
    request = PlanRequest(Geometry(4 * MIB, MIB), (Extent(MIB + 4096, 4096),), from_base=False)
    assert [(s.kind, s.first, s.count) for s in plan(request).steps()] == [
        (StepKind.ZERO, 0, 1),
        (StepKind.READ, 1, 1),
        (StepKind.ZERO, 2, 2),
    ]


def test_a_plan_for_eight_tebibytes_costs_by_its_areas() -> None:
    areas = tuple(Extent(i * 8 * GIB, 64 * KIB) for i in range(1000))
    made = plan(PlanRequest(Geometry(8 * TIB, MIB), areas, from_base=True))
    assert sum(1 for _ in made.steps()) == 2000
    assert made.read_bytes() == 1000 * 64 * KIB


def test_the_last_chunk_may_be_short() -> None:
    assert _steps(MIB + 512, (MIB, 512)) == [
        Step(StepKind.REUSE, 0, 1),
        Step(StepKind.READ, 1, 1, (Extent(MIB, 512),)),
    ]
