"""The files behind the layers of a disk: a flat extent, or a delta that has only what was written."""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from vbm.lab.model import LabFault
from vbm.units import MIB

PARENT: Final = "parent"
ZERO: Final = "zero"
DATA: Final = "data"

Piece = tuple[int, int, str]  # start, length, PARENT | ZERO | DATA
Data = bytes | bytearray | memoryview


class LayerFile(Protocol):
    """One open extent, closed when nobody holds it any more.

    Reading is thread-safe; writers are serialised by the owner, readers may go on meanwhile.
    """

    grain_bytes: int  # writes must begin and end at multiples of it, or at the capacity
    capacity_bytes: int

    def locate(self, offset: int, length: int) -> list[Piece]:
        """Ascending pieces covering the range within the capacity."""

    def readinto(self, offset: int, buffer: memoryview) -> None:
        """Of a DATA range."""

    def write(self, offset: int, data: Data) -> None: ...

    def zero(self, offset: int, length: int) -> None: ...

    def present(self) -> Iterator[Piece]:
        """Ascending DATA and ZERO pieces of the whole extent: all that does not come from the parent."""


class FlatFile:
    """A base: every byte is its own, holes of the host's file are zeros."""

    grain_bytes = 1

    def __init__(self, path: Path, capacity_bytes: int) -> None:
        self._path = path
        self.capacity_bytes = capacity_bytes
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)

    def locate(self, offset: int, length: int) -> list[Piece]:
        return [(offset, length, DATA)] if length > 0 else []

    def readinto(self, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            count = os.preadv(self._descriptor, [buffer[done:]], offset + done)
            if count == 0:
                raise LabFault(
                    "FileFault", f"{self._path.name} is cut short", properties={"file": self._path.name}
                )
            done += count

    def write(self, offset: int, data: Data) -> None:
        view = memoryview(data)
        done = 0
        while done < len(view):
            done += os.pwrite(self._descriptor, view[done:], offset + done)

    def zero(self, offset: int, length: int) -> None:
        """Zeros; what is a hole stays one."""
        end = offset + length
        for start, size, _ in list(self._data(offset, end)):
            for at in range(start, start + size, MIB):
                self.write(at, bytes(min(MIB, start + size - at)))

    def present(self) -> Iterator[Piece]:
        return self._data(0, self.capacity_bytes)

    def _data(self, at: int, end: int) -> Iterator[Piece]:
        while at < end:
            try:
                start = os.lseek(self._descriptor, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                return
            at = min(os.lseek(self._descriptor, start, os.SEEK_HOLE), end)
            if start < at:
                yield start, at - start, DATA


def create_flat(path: Path, capacity_bytes: int) -> None:
    """A sparse file of that size. Raises LabFault FileAlreadyExists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError as error:
        raise LabFault("FileAlreadyExists", f"{path.name} exists", properties={"file": path.name}) from error
    try:
        os.truncate(descriptor, capacity_bytes)
    finally:
        os.close(descriptor)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy the data of a raw image over the beginning of a sparse file; holes stay holes.

    ``copy_file_range`` shares blocks where the host's file system can.
    """
    read, write = os.open(source, os.O_RDONLY | os.O_CLOEXEC), os.open(target, os.O_RDWR | os.O_CLOEXEC)
    try:
        size, at = os.fstat(read).st_size, 0
        while at < size:
            try:
                at = os.lseek(read, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                return
            end = os.lseek(read, at, os.SEEK_HOLE)
            while at < end:
                at += os.copy_file_range(read, write, end - at, at, at)
    finally:
        os.close(read)
        os.close(write)
