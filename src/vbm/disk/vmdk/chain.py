"""A disk that consists of a base and the deltas of its snapshots, read as one.

For each range the youngest layer that has it answers; what a layer does not have, its parent is asked for.
A parent smaller than its child (the disk was grown) reads as zeros beyond its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from operator import attrgetter
from typing import Final, NamedTuple, Protocol

from vbm.disk.byte_source import ByteSource
from vbm.disk.extents import Extent, ExtentKind, coalesce
from vbm.disk.raw import check_range
from vbm.disk.reader import Buffer
from vbm.disk.vmdk.errors import MAX_CHAIN, VmdkDamagedError, VmdkUnsupportedError
from vbm.disk.vmdk.grains import Mapped, Where
from vbm.disk.vmdk.se_sparse import SeSparseReader
from vbm.disk.vmdk.sparse import CowdReader
from vbm.units import KIB, MIB

_STEP_BYTES: Final = 256 * MIB  # of the disk, resolved at once when its extents are listed
_GAP_BYTES: Final = 64 * KIB  # bytes read in vain are cheaper than another request
_MOST_BYTES: Final = 16 * MIB  # of one gathered read
_WINDOW_BYTES: Final = 64 * MIB


class Format(Enum):
    """How an extent file keeps its bytes; the values are the types of a descriptor's extent lines."""

    FLAT = "FLAT"
    COWD = "VMFSSPARSE"
    SE_SPARSE = "SESPARSE"

    @classmethod
    def of(cls, extent_type: str) -> Format:
        """Raises VmdkUnsupportedError for raw device mappings, hosted sparse extents and the unknown."""
        if extent_type == "VMFS":
            return cls.FLAT
        try:
            return cls(extent_type)
        except ValueError as error:
            raise VmdkUnsupportedError(f"extents of type {extent_type[:40]!r} can't be read") from error


@dataclass(frozen=True, slots=True)
class Link:
    """One file of a chain. ``offset`` is where a flat extent's data begins in its file."""

    format: Format
    source: ByteSource
    capacity_bytes: int
    offset: int = 0


class Layer(Protocol):
    """One link, decoded."""

    @property
    def source(self) -> ByteSource: ...

    @property
    def capacity_bytes(self) -> int: ...

    def map(self, start: int, length: int) -> list[Mapped]:
        """Where the range's bytes are: ascending, without a gap. The range is within the capacity."""


class FlatLayer:
    """A file whose bytes are the disk's."""

    def __init__(self, source: ByteSource, capacity_bytes: int, offset: int = 0) -> None:
        if source.size_bytes < offset + capacity_bytes:
            raise VmdkDamagedError(
                f"a flat extent of {source.size_bytes} bytes where its descriptor says {offset + capacity_bytes}"
            )
        self.source = source
        self.capacity_bytes = capacity_bytes
        self._offset = offset

    def map(self, start: int, length: int) -> list[Mapped]:
        return [Mapped(start, length, Where.DATA, start + self._offset)] if length else []


class Segment(NamedTuple):
    """A range of the disk and the file that has it: ``link`` counts from the head, None is zeros."""

    start: int
    length: int
    link: int | None
    file_offset: int

    @property
    def end(self) -> int:
        return self.start + self.length

    @property
    def file_end(self) -> int:
        return self.file_offset + self.length


def open_layer(link: Link) -> Layer:
    """The link decoded; reads its header. Raises VmdkDamagedError, VmdkUnsupportedError."""
    if link.format is Format.COWD:
        return CowdReader(link.source, link.capacity_bytes)
    if link.format is Format.SE_SPARSE:
        return SeSparseReader(link.source, link.capacity_bytes)
    return FlatLayer(link.source, link.capacity_bytes, link.offset)


class ChainReader:
    """A DiskReader over links from the head to the base; the disk is as large as its head. Thread-safe.

    Tables of the deltas are read when they are needed and at most some MiB a link are kept. A base that is
    itself a delta format reads as zeros where it has nothing. ``close`` closes the links' sources.
    """

    random_read = True

    def __init__(self, links: Sequence[Link | Layer]) -> None:
        if not 0 < len(links) <= MAX_CHAIN + 1:
            raise VmdkUnsupportedError(f"a chain of {len(links)} links; vSphere allows {MAX_CHAIN} snapshots")
        self._layers = [open_layer(link) if isinstance(link, Link) else link for link in links]
        self.capacity_bytes = self._layers[0].capacity_bytes

    def resolve(self, offset: int, length: int) -> list[Segment]:
        """The segments that make up the range: ascending, without a gap, neighbours joined."""
        check_range(offset, length, self.capacity_bytes)
        found: list[Segment] = []
        wanted = [(offset, offset + length)] if length else []
        for index, layer in enumerate(self._layers):
            wanted = _resolve_in(layer, index, wanted, found)
        found += [Segment(start, end - start, None, 0) for start, end in wanted]
        found.sort()
        return list(_joined(found))

    def extents(self) -> Iterator[Extent]:
        """ZERO where no link has data, or the youngest that has something has zeros.

        Everything within a flat base is DATA, and the deltas above it are not read for this.
        """
        known = 0
        if isinstance(self._layers[-1], FlatLayer):
            known = min(layer.capacity_bytes for layer in self._layers)
        return coalesce(self._extents(known))

    def _extents(self, known: int) -> Iterator[Extent]:
        if known:
            yield Extent(0, known)
        for start in range(known, self.capacity_bytes, _STEP_BYTES):
            for segment in self.resolve(start, min(_STEP_BYTES, self.capacity_bytes - start)):
                kind = ExtentKind.ZERO if segment.link is None else ExtentKind.DATA
                yield Extent(segment.start, segment.length, kind)

    def readinto(self, offset: int, buffer: Buffer) -> None:
        view = memoryview(buffer)
        for start in range(0, len(view), _WINDOW_BYTES):
            part = view[start : start + _WINDOW_BYTES]
            self._read(self.resolve(offset + start, len(part)), offset + start, part)

    def _read(self, segments: list[Segment], offset: int, view: memoryview) -> None:
        """Few large reads: per link in file order, joined over small gaps, then spread over the buffer."""
        for segment in segments:
            if segment.link is None:
                view[segment.start - offset : segment.end - offset] = bytes(segment.length)
        stored = [segment for segment in segments if segment.link is not None]
        stored.sort(key=attrgetter("link", "file_offset"))
        for group in _gathered(stored):
            source = self._layers[group[0].link or 0].source
            if len(group) == 1:
                (only,) = group
                source.readinto_at(only.file_offset, view[only.start - offset : only.end - offset])
                continue
            base = group[0].file_offset
            data = memoryview(source.read_at(base, max(s.file_end for s in group) - base))
            for segment in group:
                piece = data[segment.file_offset - base : segment.file_end - base]
                view[segment.start - offset : segment.end - offset] = piece

    def close(self) -> None:
        for layer in self._layers:
            layer.source.close()


def _resolve_in(
    layer: Layer, index: int, wanted: list[tuple[int, int]], found: list[Segment]
) -> list[tuple[int, int]]:
    """Adds what the layer has to ``found``; answers what its parent must be asked for."""
    left: list[tuple[int, int]] = []
    for start, end in wanted:
        within = max(start, min(end, layer.capacity_bytes))
        if within < end:
            found.append(Segment(within, end - within, None, 0))
        if start == within:
            continue
        for part in layer.map(start, within - start):
            if part.where is Where.PARENT:
                left.append((part.start, part.end))
            else:
                link = index if part.where is Where.DATA else None
                found.append(Segment(part.start, part.length, link, part.file_offset))
    return left


def _joined(segments: list[Segment]) -> Iterator[Segment]:
    last: Segment | None = None
    for segment in segments:
        if last is not None and last.link == segment.link and _follows(last, segment):
            last = Segment(last.start, last.length + segment.length, last.link, last.file_offset)
            continue
        if last is not None:
            yield last
        last = segment
    if last is not None:
        yield last


def _follows(last: Segment, segment: Segment) -> bool:
    return segment.link is None or last.file_end == segment.file_offset


def _gathered(segments: list[Segment]) -> Iterator[list[Segment]]:
    """Groups of one link whose bytes are near one another. The input is by link and file offset."""
    if not segments:
        return
    group = [segments[0]]
    for last, segment in pairwise(segments):
        near = segment.link == last.link and segment.file_offset - last.file_end <= _GAP_BYTES
        if near and segment.file_end - group[0].file_offset <= _MOST_BYTES:
            group.append(segment)
        else:
            yield group
            group = [segment]
    yield group
