"""Changed block tracking as ESXi keeps it: per disk, 64 KiB grains, an epoch per snapshot.

A change id is ``<uuid>/<sequence>``. The running disk is in epoch ``sequence``: its writes are marked in
that epoch's set. A snapshot stamps the frozen disk with ``<uuid>/<sequence>`` and the running disk goes on
in ``sequence + 1``. So what was written after the snapshot stamped ``c`` and before the one stamped ``s``
is the union of the epochs ``c + 1 … s``.

Marks are on the host's page cache before the data they speak of, so a killed lab tells too much, never
too little.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vbm.lab.model import AREAS_PER_PAGE, GRAIN_BYTES, Area, ChangeInfo, LabFault

_PAGE_BYTES: Final = 512
_PAGE_GRAINS: Final = _PAGE_BYTES * 8
_CBT: Final = "vim.hostd.vmsvc.cbt."


def new_uuid() -> str:
    """``52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63``."""
    digits = token_hex(16)
    pairs = [digits[at : at + 2] for at in range(0, 32, 2)]
    return " ".join(pairs[:8]) + "-" + " ".join(pairs[8:])


def split_change_id(change_id: str) -> tuple[str, int]:
    """Its uuid and sequence. Raises LabFault InvalidArgument(changeId)."""
    uuid, slash, sequence = change_id.rpartition("/")
    if not slash or not sequence.isascii() or not sequence.isdigit() or len(sequence) > 18:
        raise bad_argument("changeId", f"not a change id: {change_id!r}")
    return uuid, int(sequence)


def bad_argument(name: str, message: str) -> LabFault:
    return LabFault(
        "InvalidArgument",
        message,
        properties={"invalidProperty": name},
        message_keys=("vmodl.fault.InvalidArgument.invalidProperty",),
    )


def cbt_fault(key: str, message: str, file_name: str) -> LabFault:
    """FileFault as hostd words it: ``key`` is noTrack, noEpoch or cannotGetChanges."""
    text = f"Error caused by file {file_name}: {message}"
    return LabFault("FileFault", text, properties={"file": file_name}, message_keys=(_CBT + key,))


class GrainSet:
    """A persistent set of grain numbers; memory and file grow with what is marked, not with the disk.

    Not thread-safe for marking; one may be read while nobody marks.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pages: dict[int, bytearray] | None = None
        self._descriptor = -1

    def mark(self, first: int, last: int) -> None:
        """Put ``first … last`` (inclusive) into the set, in the file too."""
        for number in range(first // _PAGE_GRAINS, last // _PAGE_GRAINS + 1):
            base = number * _PAGE_GRAINS
            self._mark_page(number, max(first - base, 0), min(last - base, _PAGE_GRAINS - 1))

    def _mark_page(self, number: int, first: int, last: int) -> None:
        page = self._load().setdefault(number, bytearray(_PAGE_BYTES))
        low, high = first // 8, last // 8
        before = bytes(page[low : high + 1])
        for index in (low, high):
            bits = range(max(first - index * 8, 0), min(last - index * 8, 7) + 1)
            page[index] |= sum(1 << bit for bit in bits)
        page[low + 1 : high] = b"\xff" * max(high - low - 1, 0)
        if page[low : high + 1] != before:
            os.pwrite(self._open(), page[low : high + 1], number * _PAGE_BYTES + low)

    def _open(self) -> int:
        if self._descriptor < 0:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        return self._descriptor

    def _load(self) -> dict[int, bytearray]:
        if self._pages is None:
            self._pages = _read_pages(self._path) if self._path.exists() else {}
        return self._pages

    @property
    def pages(self) -> dict[int, bytearray]:
        return self._load()

    def clear(self) -> None:
        self._pages = {}
        if self._path.exists():
            os.truncate(self._path, 0)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _read_pages(path: Path) -> dict[int, bytearray]:
    pages: dict[int, bytearray] = {}
    with path.open("rb") as file:
        size, at = path.stat().st_size, 0
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) // _PAGE_BYTES * _PAGE_BYTES
            except OSError:  # ENXIO: nothing but a hole
                break
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            while at < hole:
                raw = os.pread(file.fileno(), _PAGE_BYTES, at)
                if any(raw):
                    pages[at // _PAGE_BYTES] = bytearray(raw.ljust(_PAGE_BYTES, b"\0"))
                at += _PAGE_BYTES
    return pages


def runs(sets: Iterable[GrainSet], first: int) -> Iterator[tuple[int, int]]:
    """Ascending (grain, count) of the union of the sets, from grain ``first`` on; runs never touch."""
    pages = [each.pages for each in sets]
    numbers = sorted({number for each in pages for number in each if number >= first // _PAGE_GRAINS})
    start = end = -1
    for number in numbers:
        found = [each[number] for each in pages if number in each]
        for low, high in _page_runs(found, max(first - number * _PAGE_GRAINS, 0)):
            low_grain, high_grain = low + number * _PAGE_GRAINS, high + number * _PAGE_GRAINS
            if low_grain != end:
                if end > start:
                    yield start, end - start
                start = low_grain
            end = high_grain
    if end > start:
        yield start, end - start


def _page_runs(found: list[bytearray], skip: int) -> list[tuple[int, int]]:
    union: NDArray[np.uint8] = np.frombuffer(found[0], dtype=np.uint8).copy()
    for page in found[1:]:
        union |= np.frombuffer(page, dtype=np.uint8)
    bits = np.unpackbits(union, bitorder="little")
    bits[:skip] = 0
    edges = np.flatnonzero(np.diff(np.concatenate(([0], bits, [0])).astype(np.int8)))
    return [(int(low), int(high)) for low, high in edges.reshape(-1, 2)]


def page_of_areas(found: Iterable[tuple[int, int]], start: int, capacity: int) -> ChangeInfo:
    """One answer of QueryChangedDiskAreas from ascending (offset, length) pairs that don't touch."""
    areas: list[Area] = []
    for offset, length in found:
        if len(areas) == AREAS_PER_PAGE:
            return ChangeInfo(start, areas[-1].start + areas[-1].length - start, tuple(areas))
        low, high = max(offset, start), min(offset + length, capacity)
        if low < high:
            areas.append(Area(low, high - low))
    return ChangeInfo(start, capacity - start, tuple(areas))


class Tracker:
    """The epochs of one disk. Its owner serialises marking; frozen epochs may be read meanwhile.

    ``change_id`` None: not tracking. The owner persists it; the sets persist themselves in ``folder``.
    """

    def __init__(self, folder: Path, change_id: str | None) -> None:
        self._folder = folder
        self._sets: dict[str, GrainSet] = {}
        self._running: GrainSet | None = None
        self.change_id = change_id
        if change_id is not None:
            self._running = self._set(change_id)

    def start(self, allocated: Iterable[tuple[int, int]], keep: set[str]) -> None:
        """A fresh uuid at sequence 1 with what is allocated marked. ``keep``: uuids still asked about."""
        self.stop(keep)
        self.change_id = f"{new_uuid()}/1"
        self._running = self._set(self.change_id)
        for offset, length in allocated:
            self.mark(offset, length)

    def stop(self, keep: set[str]) -> None:
        """Track no more, and forget every epoch of a uuid not in ``keep``."""
        self.close()
        self.change_id, self._running = None, None
        for path in self._folder.glob("*") if self._folder.is_dir() else ():
            if path.name not in {uuid.replace(" ", "") for uuid in keep}:
                shutil.rmtree(path, ignore_errors=True)

    def next_epoch(self) -> None:
        if self.change_id is not None:
            uuid, sequence = split_change_id(self.change_id)
            if self._running is not None:
                self._running.close()
            self.change_id = f"{uuid}/{sequence + 1}"
            self._running = self._set(self.change_id)

    def mark(self, offset: int, length: int) -> None:
        """Those bytes are about to be written."""
        if self._running is not None and length > 0:
            self._running.mark(offset // GRAIN_BYTES, (offset + length - 1) // GRAIN_BYTES)

    def lose(self) -> None:
        """Forget what was marked in the running epoch."""
        if self._running is not None:
            self._running.clear()

    def changed(self, since: str, until: str, start: int, capacity: int) -> ChangeInfo:
        """What was written after ``since`` was stamped and until ``until`` was; both of this disk's uuid."""
        uuid, low = split_change_id(since)
        stamped, high = split_change_id(until)
        if uuid != stamped:
            raise bad_argument("changeId", f"change id {since!r} is of another tracking ({stamped}/…)")
        if not 1 <= low <= high:
            raise bad_argument("changeId", f"change id {since!r} is not before {until!r}")
        sets = [self._set(f"{uuid}/{sequence}") for sequence in range(low + 1, high + 1)]
        found = runs(sets, start // GRAIN_BYTES)
        return page_of_areas(
            ((at * GRAIN_BYTES, count * GRAIN_BYTES) for at, count in found), start, capacity
        )

    def _set(self, change_id: str) -> GrainSet:
        uuid, sequence = split_change_id(change_id)
        path = self._folder / uuid.replace(" ", "") / f"{sequence}.grains"
        return self._sets.setdefault(change_id, GrainSet(path))

    def close(self) -> None:
        for each in self._sets.values():
            each.close()
        self._sets.clear()
        if self.change_id is not None:
            self._running = self._set(self.change_id)
