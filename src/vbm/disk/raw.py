"""Raw images: what restores write and tests read."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from vbm.disk.byte_source import open_for_reading, read_fully, write_fully
from vbm.disk.extents import Extent, ExtentKind
from vbm.disk.reader import Buffer
from vbm.errors import InputError, VbmError

Data = bytes | bytearray | memoryview

HOLE_BYTES: Final = 64 * 1024  # zeros are looked for, and left out, in pieces of this size
_ZEROS: Final = bytes(HOLE_BYTES)


class ImageWriteError(VbmError):
    """An image can't be written: no space, no permission, a disk error."""

    code = "image-write"


class ImageWriter(Protocol):
    """Writes a disk into an image file. What is never written reads as zeros."""

    capacity_bytes: int

    def write(self, offset: int, data: Data) -> None:
        """Thread-safe, in any order. Raises InputError outside the capacity, ImageWriteError otherwise."""

    def close(self) -> None:
        """The image is complete and durable afterwards. May be called twice."""

    def discard(self) -> None:
        """Give up: nothing of the image remains. Does nothing after ``close``."""


class RawDisk:
    """A raw image file or block device as a disk; its holes are the zero extents. Thread-safe."""

    random_read = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = open_for_reading(path)
        self.capacity_bytes = os.lseek(self._descriptor, 0, os.SEEK_END)

    def extents(self) -> Iterator[Extent]:
        position = 0
        while position < self.capacity_bytes:
            data = _seek(self._descriptor, position, os.SEEK_DATA, self.capacity_bytes)
            if data > position:
                yield Extent(position, data - position, ExtentKind.ZERO)
            position = _seek(self._descriptor, data, os.SEEK_HOLE, self.capacity_bytes)
            if position > data:
                yield Extent(data, position - data)

    def readinto(self, offset: int, buffer: Buffer) -> None:
        check_range(offset, len(buffer), self.capacity_bytes)
        read_fully(self._descriptor, offset, buffer, self._path)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class RawWriter:
    """A sparse raw image: zeros are left as holes. ``durable`` False skips the fsync at the end."""

    def __init__(
        self, path: Path, capacity_bytes: int, *, overwrite: bool = False, durable: bool = True
    ) -> None:
        self._path = path
        self._durable = durable
        self.capacity_bytes = capacity_bytes
        self._descriptor = create_file(path, overwrite=overwrite)
        try:
            os.truncate(self._descriptor, capacity_bytes)
        except OSError as error:
            self.discard()
            raise ImageWriteError(f"can't make {path} {capacity_bytes} bytes long: {error}") from error

    def write(self, offset: int, data: Data) -> None:
        check_range(offset, len(data), self.capacity_bytes)
        try:
            for start, piece in non_zero_pieces(data, lambda at, size: self._is_hole(offset + at, size)):
                write_fully(self._descriptor, offset + start, piece)
        except OSError as error:
            raise ImageWriteError(f"can't write {self._path}: {error}") from error

    def _is_hole(self, offset: int, length: int) -> bool:
        return _seek(self._descriptor, offset, os.SEEK_DATA, self.capacity_bytes) >= offset + length

    def close(self) -> None:
        if self._descriptor >= 0:
            close_durably(self._descriptor, self._path, durable=self._durable)
            self._descriptor = -1

    def discard(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._path.unlink(missing_ok=True)


class _IsHole(Protocol):
    def __call__(self, at: int, size: int, /) -> bool: ...


def non_zero_pieces(data: Data, is_hole: _IsHole) -> Iterator[tuple[int, memoryview]]:
    """Runs of the data that must be written: zeros are left out where the image already has a hole."""
    view = memoryview(data)
    run = -1
    for start in range(0, len(view), HOLE_BYTES):
        piece = view[start : start + HOLE_BYTES]
        if is_zero(piece) and is_hole(start, len(piece)):
            if run >= 0:
                yield run, view[run:start]
            run = -1
        elif run < 0:
            run = start
    if run >= 0:
        yield run, view[run:]


def is_zero(data: Data) -> bool:
    """Whether every byte is zero, at memory speed."""
    size = len(data)
    # Comparing two bytes objects is a memcmp; comparing memoryviews goes item by item, 60 times slower.
    return bytes(data) == (_ZEROS if size == HOLE_BYTES else bytes(size))


def check_range(offset: int, length: int, capacity_bytes: int) -> None:
    """Raise InputError where the range is not within the disk."""
    if offset < 0 or offset + length > capacity_bytes:
        raise InputError(f"{offset}+{length} is not within a disk of {capacity_bytes} bytes")


def create_file(path: Path, *, overwrite: bool) -> int:
    """A descriptor of a new empty file of mode 0600. InputError where it exists and may not be replaced."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if overwrite else os.O_EXCL)
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError as error:
        raise InputError(f"{path} exists already", hint="name another file, or delete this one") from error
    except (OSError, ValueError) as error:
        raise InputError(f"can't create {path}: {error}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # giving up would delete a device's node
        os.close(descriptor)
        raise InputError(f"{path} is not an ordinary file")
    return descriptor


def close_durably(descriptor: int, path: Path, *, durable: bool = True) -> None:
    """Flush the file to its disk and close it."""
    try:
        if durable:
            os.fsync(descriptor)
    except OSError as error:
        raise ImageWriteError(f"can't flush {path}: {error}") from error
    finally:
        os.close(descriptor)


def _seek(descriptor: int, position: int, whence: int, end: int) -> int:
    """SEEK_DATA or SEEK_HOLE; ``end`` where nothing more follows. Where unsupported, all is data."""
    if position >= end:
        return end
    try:
        return min(end, os.lseek(descriptor, position, whence))
    except OSError as error:
        if error.errno == errno.ENXIO:
            return end
        if error.errno in {errno.EINVAL, errno.EOPNOTSUPP}:
            return position if whence == os.SEEK_DATA else end
        raise
