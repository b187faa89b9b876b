"""A disk as a chain of layer files: reading through it, writing to its head, merging one layer into another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from vbm.lab.layer_files import DATA, PARENT, ZERO, Data, LayerFile
from vbm.lab.model import LabFault
from vbm.units import MIB

Range = tuple[int, int]  # start, length


def read(files: Sequence[LayerFile], offset: int, length: int) -> bytearray:
    """The bytes as the last file of the chain shows them."""
    buffer = bytearray(length)
    view = memoryview(buffer)
    wanted: list[Range] = [(offset, length)]
    for file in reversed(files):
        missing: list[Range] = []
        for start, size in wanted:
            inside = min(size, max(file.capacity_bytes - start, 0))  # beyond a smaller parent's end: zeros
            for at, count, where in file.locate(start, inside) if inside else ():
                if where == DATA:
                    file.readinto(at, view[at - offset : at - offset + count])
                elif where == PARENT:
                    missing.append((at, count))
        wanted = missing
        if not wanted:
            break
    return buffer


def write(files: Sequence[LayerFile], offset: int, data: Data) -> None:
    """Into the last file; a part of a grain is completed from the chain."""
    head = files[-1]
    start, end = _whole_grains(head, offset, offset + len(data))
    if (start, end) == (offset, offset + len(data)):
        head.write(offset, data)
        return
    before, after = read(files, start, offset - start), b""
    if end > offset + len(data):
        after = bytes(read(files, offset + len(data), end - offset - len(data)))
    head.write(start, bytes(before) + bytes(data) + after)


def zero(files: Sequence[LayerFile], offset: int, length: int) -> None:
    """Zeros in the last file; whole grains as zero entries."""
    head, end = files[-1], offset + length
    grain = head.grain_bytes
    low, high = -(-offset // grain) * grain, end // grain * grain
    if end == head.capacity_bytes:
        high = end
    if low >= high:
        write(files, offset, bytes(length))
        return
    head.zero(low, high - low)
    if low > offset:
        write(files, offset, bytes(low - offset))
    if end > high:
        write(files, high, bytes(end - high))


def _whole_grains(file: LayerFile, start: int, end: int) -> Range:
    grain = file.grain_bytes
    return start // grain * grain, min(-(-end // grain) * grain, file.capacity_bytes)


def merge(
    child: LayerFile,
    target: Sequence[LayerFile],
    pieces: Iterable[tuple[int, int, str]],
    paced: Callable[[int], None] = lambda _: None,
) -> None:
    """Write the child's pieces into the last file of ``target`` (its parent's chain), at most 1 MiB at a time.

    ``paced(bytes)`` is called after each. As long as the child lies above, nobody's view changes.
    """
    parent = target[-1]
    for start, length, where in pieces:
        end = min(start + length, parent.capacity_bytes)
        for at in range(start, end, MIB):
            size = min(MIB, end - at)
            if where == ZERO:
                zero(target, at, size)
            else:
                _merge_data(child, target, at, size)
            paced(size)


def _merge_data(child: LayerFile, target: Sequence[LayerFile], at: int, size: int) -> None:
    buffer = bytearray(size)
    child.readinto(at, memoryview(buffer))
    write(target, at, buffer)


def allocated(files: Sequence[LayerFile], grain: int, capacity: int) -> list[Range]:
    """Ascending, separate ranges aligned out to ``grain`` that hold data in any file of the chain."""
    pieces = sorted((start, size) for file in files for start, size, where in file.present() if where == DATA)
    return list(_joined(pieces, grain, capacity))


def _joined(pieces: Iterable[Range], grain: int, capacity: int) -> Iterator[Range]:
    start = end = -1
    for at, size in pieces:
        low, high = at // grain * grain, min(-(-(at + size) // grain) * grain, capacity)
        if low > end:
            if end > start:
                yield start, end - start
            start, end = low, high
        end = max(end, high)
    if end > start:
        yield start, end - start


class FrozenChain:
    """A FrozenView. It holds the files, so that what consolidation deletes meanwhile can still be read."""

    def __init__(self, files: list[LayerFile], size_bytes: int, alive: Callable[[], bool]) -> None:
        self._files = files
        self._alive = alive
        self.size_bytes = size_bytes

    def read_at(self, offset: int, length: int) -> bytes:
        if not self._alive():
            raise LabFault("FileNotFound", "the snapshot behind this view is gone")
        if offset < 0 or offset + length > self.size_bytes:
            raise LabFault("InvalidArgument", f"{offset}+{length} is not within {self.size_bytes} bytes")
        return bytes(read(self._files, offset, length))

    def allocated(self) -> list[Range]:
        return allocated(self._files, 64 * 1024, self.size_bytes)

    def close(self) -> None:
        self._files = []
