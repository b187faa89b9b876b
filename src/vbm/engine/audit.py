"""Change tracking is not trusted blindly: a few chunks that it calls unchanged are read again and compared.

The comparison is of chunk ids: the chunk as it is now, put into the repository, must be the chunk of the previous
restore point. A chunk that is not was changed without a trace, so nothing else of that disk can be trusted either:
the caller reads the whole disk, restarts tracking and warns.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from vbm.cancel import CancelToken
from vbm.disk.extents import Extent
from vbm.disk.reader import DiskReader
from vbm.engine.copier import Base, ChunkSink
from vbm.engine.geometry import Geometry
from vbm.engine.rate_limit import RateLimit
from vbm.ids import ZERO_CHUNK

AUDIT_CHUNKS: Final = 16  # a disk and run
_TRIES: Final = 8  # at finding a chunk that holds data, for each pick


@dataclass(frozen=True, slots=True)
class AuditResult:
    """``mismatches``: chunk numbers whose content changed although tracking says it did not."""

    chunks: int
    bytes_audited: int
    mismatches: tuple[int, ...]


def pick(untouched: list[Extent], geometry: Geometry, base: Base, count: int, seed: str) -> tuple[int, ...]:
    """At most ``count`` different chunks of the chunk-aligned ``untouched``, ascending; the same for one seed.

    Three of four are looked for among chunks that hold data: guests write where they have written before.
    """
    source = random.Random(seed)  # noqa: S311 - a sample, no secret
    ends = list(accumulate(-(-e.length // geometry.chunk_bytes) for e in untouched))
    available = ends[-1] if ends else 0
    if available <= count:
        return tuple(c for e in untouched for c in _chunks(e, geometry))
    picked: set[int] = set()
    for number in range(count):
        tries = 1 if number % 4 == 3 else _TRIES
        chunk = -1
        for _ in range(tries):
            chunk = _at(source.randrange(available), untouched, ends, geometry)
            if base.id(chunk) != ZERO_CHUNK:
                break
        picked.add(chunk)
    return tuple(sorted(picked))


def audit(
    reader: DiskReader,
    picks: tuple[int, ...],
    geometry: Geometry,
    base: Base,
    sink: ChunkSink,
    *,
    limit: RateLimit,
    cancel: CancelToken,
) -> AuditResult:
    """Read the picked chunks and compare them with the base's. Raises what the reader and the sink raise."""
    buffer = memoryview(bytearray(geometry.chunk_bytes))
    mismatches: list[int] = []
    read_bytes = 0
    for chunk in picks:
        cancel.check()
        length = geometry.length(chunk)
        limit.take(length, cancel)
        reader.readinto(geometry.start(chunk), buffer[:length])
        read_bytes += length
        if sink.put_chunk(buffer[:length]).id != base.id(chunk):
            mismatches.append(chunk)
    return AuditResult(len(picks), read_bytes, tuple(mismatches))


def _chunks(extent: Extent, geometry: Geometry) -> Iterator[int]:
    yield from range(extent.start // geometry.chunk_bytes, -(-extent.end // geometry.chunk_bytes))


def _at(position: int, untouched: list[Extent], ends: list[int], geometry: Geometry) -> int:
    """The ``position``-th chunk of the ranges; ``ends`` counts the chunks up to the end of each."""
    number = bisect_right(ends, position)
    before = ends[number - 1] if number else 0
    return untouched[number].start // geometry.chunk_bytes + position - before
