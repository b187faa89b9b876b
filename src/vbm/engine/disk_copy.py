"""One disk from a reader into a restore point in the making: audit, plan, copy; incremental or full.

Incremental: the new map starts from the previous one; what changed is read; chunks of the previous map that the
repository has lost are read too, so a backup heals what it can. Where the audit finds that change tracking missed
something, the disk is read whole after all; dedup then stores only what differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Literal

from vbm.cancel import CancelToken
from vbm.disk.extents import Extent, ExtentKind, intersect, merge, subtract, total_bytes
from vbm.disk.reader import DiskReader
from vbm.engine.audit import AuditResult, audit, pick
from vbm.engine.checkpoint import Checkpoint, RunFolder, adopt
from vbm.engine.copier import WORKERS, Copier, CopyStats, CopyTask, Pace, buffer_bytes
from vbm.engine.geometry import Geometry
from vbm.engine.planner import Plan, PlanRequest, bounded, plan
from vbm.engine.rate_limit import RateLimit
from vbm.errors import DamagedError
from vbm.ids import ChunkId, DiskKey
from vbm.progress import Progress
from vbm.repository.disk_map import DiskMap, MapBuilder
from vbm.repository.writer import Writer

_BATCH: Final = 8192  # chunk ids looked up at a time


@dataclass(frozen=True, slots=True)
class DiskSource:
    """A disk that is open for reading. ``range_bytes`` and ``parallel_reads`` are what suits its transport."""

    key: DiskKey
    label: str
    reader: DiskReader
    range_bytes: int
    parallel_reads: int


@dataclass(frozen=True, slots=True)
class Previous:
    """What an incremental builds on: the previous map and everything that changed since it."""

    disk_map: DiskMap
    changed: tuple[Extent, ...]
    audit_chunks: int
    audit_seed: str


@dataclass(frozen=True, slots=True)
class Tools:
    """What the disks of a run share. ``resume``: the folder of an interrupted run to go on from."""

    writer: Writer
    read_chunk: Callable[[ChunkId], bytes]
    chunk_bytes: int
    limit: RateLimit
    progress: Progress
    cancel: CancelToken
    workers: int = WORKERS
    journal: Checkpoint | None = None
    resume: RunFolder | None = None


@dataclass(frozen=True, slots=True)
class DiskOutcome:
    """``distrusted``: the audit failed, so this disk's change tracking must not be built upon."""

    mode: Literal["full", "incremental"]
    reason: str
    target: MapBuilder
    stats: CopyStats
    bytes_changed: int
    bytes_audited: int = 0
    bytes_resumed: int = 0
    distrusted: bool = False


@dataclass(frozen=True, slots=True)
class MapBase:
    """A stored disk map as the copier's base."""

    disk_map: DiskMap
    read: Callable[[ChunkId], bytes] = field(repr=False)

    def id(self, index: int) -> ChunkId:
        return self.disk_map.id(index)


def copy_disk(
    source: DiskSource,
    tools: Tools,
    previous: Previous | None,
    *,
    reason: str = "",
    allocated: list[Extent] | None = None,
) -> DiskOutcome:
    """Read the disk. ``previous`` None: all of it, or where ``allocated`` is known, that; the rest is zeros."""
    if previous is None:
        return _full(source, tools, reason, allocated)
    try:
        lost = _lost_chunks(previous.disk_map, tools.writer, _geometry(source, tools))
    except DamagedError as error:
        tools.progress.warn(f"{source.label}: the previous restore point is damaged: {error}")
        return _full(source, tools, "the previous restore point's disk map is damaged", None)
    made = _plan(source, tools, bounded(previous.changed), from_base=True, chunks=tuple(lost))
    found = _audit(source, tools, previous, made)
    if found.mismatches:
        start = found.mismatches[0] * tools.chunk_bytes
        tools.progress.warn(
            f"{source.label}: change tracking missed a change near byte {start}; the whole disk is read"
        )
        why = "the audit found changes that change tracking had missed"
        return _full(source, tools, why, None, audited=found.bytes_audited)
    if lost:
        tools.progress.note(
            f"{source.label}: {total_bytes(lost)} bytes of the previous restore point are lost in the"
            " repository and are read again"
        )
    target = tools.writer.new_map(source.reader.capacity_bytes, base=previous.disk_map)
    base = MapBase(previous.disk_map, tools.read_chunk)
    stats, resumed = _copy(source, tools, made, target, base)
    return DiskOutcome(
        "incremental",
        reason,
        target,
        stats,
        bytes_changed=total_bytes(merge(previous.changed)),
        bytes_audited=found.bytes_audited,
        bytes_resumed=resumed,
    )


def _full(
    source: DiskSource, tools: Tools, reason: str, allocated: list[Extent] | None, *, audited: int = 0
) -> DiskOutcome:
    areas = bounded(e for e in source.reader.extents() if e.kind is ExtentKind.DATA)
    if allocated is not None:
        areas = intersect(areas, allocated)
    made = _plan(source, tools, areas, from_base=False)
    target = tools.writer.new_map(source.reader.capacity_bytes)
    stats, resumed = _copy(source, tools, made, target, None)
    return DiskOutcome(
        "full",
        reason,
        target,
        stats,
        bytes_changed=stats.bytes_read + resumed,
        bytes_audited=audited,
        bytes_resumed=resumed,
        distrusted=audited > 0,
    )


def _copy(
    source: DiskSource, tools: Tools, made: Plan, target: MapBuilder, base: MapBase | None
) -> tuple[CopyStats, int]:
    """Copy what an interrupted run has not finished; answers what was done, and the bytes it had finished."""
    done: list[Extent] = []
    if tools.resume is not None:
        done = adopt(tools.resume, source.key, tools.writer, target, made.request.geometry)
    rest = Plan(made.request, tuple(subtract(made.areas, done)))
    resumed = made.read_bytes() - rest.read_bytes()
    tools.progress.disk(source.key, source.label, rest.read_bytes())
    pace = Pace(tools.limit, tools.workers, source.parallel_reads)
    copier = Copier(tools.writer, pace, tools.progress, tools.cancel, tools.journal)
    stats = copier.copy(CopyTask(source.key, source.reader, rest, target, base))
    return stats, resumed


def _audit(source: DiskSource, tools: Tools, previous: Previous, made: Plan) -> AuditResult:
    geometry = made.request.geometry
    base = MapBase(previous.disk_map, tools.read_chunk)
    picks = pick(made.untouched(), geometry, base, previous.audit_chunks, previous.audit_seed)
    return audit(source.reader, picks, geometry, base, tools.writer, limit=tools.limit, cancel=tools.cancel)


def _plan(
    source: DiskSource,
    tools: Tools,
    areas: list[Extent],
    *,
    from_base: bool,
    chunks: tuple[Extent, ...] = (),
) -> Plan:
    return plan(
        PlanRequest(
            _geometry(source, tools),
            tuple(areas),
            from_base=from_base,
            random_read=source.reader.random_read,
            buffer_bytes=buffer_bytes(source.range_bytes, tools.chunk_bytes, tools.workers),
            chunks=chunks,
        )
    )


def _geometry(source: DiskSource, tools: Tools) -> Geometry:
    return Geometry(source.reader.capacity_bytes, tools.chunk_bytes)


def _lost_chunks(disk_map: DiskMap, writer: Writer, geometry: Geometry) -> list[Extent]:
    """The chunks of the map that the repository no longer has; all others are relied on from now on."""
    lost: list[Extent] = []
    used = disk_map.used()
    while batch := list(islice(used, _BATCH)):
        wanted = {chunk for _, chunk in batch}
        missing = wanted - writer.adopt(wanted)
        if missing:
            lost += [geometry.run(index, 1) for index, chunk in batch if chunk in missing]
    return merge(lost)
