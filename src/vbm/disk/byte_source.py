"""Random access to the bytes of one file, wherever it lies: a disk here, a datastore behind HTTPS."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from vbm.disk.reader import Buffer
from vbm.errors import DamagedError, InputError, NotFoundError


class SourceCutShortError(DamagedError):
    """A file ends before the bytes that were asked of it."""

    code = "file-cut-short"


class ByteSource(Protocol):
    """Bytes ``[0, size_bytes)`` of a file that does not change. All methods are thread-safe.

    A read answers all it was asked for or raises: SourceCutShortError beyond the end, TransientError or
    another VbmError where the file can't be had.
    """

    @property
    def size_bytes(self) -> int: ...

    def read_at(self, offset: int, length: int) -> bytes: ...

    def readinto_at(self, offset: int, buffer: Buffer) -> None: ...

    def close(self) -> None:
        """Release what is held. May be called twice."""


class FileSource:
    """A local file or block device."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = open_for_reading(path)
        self.size_bytes = os.lseek(self._descriptor, 0, os.SEEK_END)

    def read_at(self, offset: int, length: int) -> bytes:
        if offset < 0 or offset + length > self.size_bytes:
            raise SourceCutShortError(f"{self._path} has {self.size_bytes} bytes, none at {offset}+{length}")
        data = bytearray(length)
        self.readinto_at(offset, data)
        return bytes(data)

    def readinto_at(self, offset: int, buffer: Buffer) -> None:
        read_fully(self._descriptor, offset, buffer, self._path)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size_bytes = len(data)

    def read_at(self, offset: int, length: int) -> bytes:
        if offset < 0 or offset + length > self.size_bytes:
            raise SourceCutShortError(f"{self.size_bytes} bytes, none at {offset}+{length}")
        return self._data[offset : offset + length]

    def readinto_at(self, offset: int, buffer: Buffer) -> None:
        buffer[:] = self.read_at(offset, len(buffer))

    def close(self) -> None:
        pass


def open_for_reading(path: Path) -> int:
    """A file descriptor. Raises NotFoundError, or InputError for a folder and what may not be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFoundError(f"no such file: {path}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"can't open {path}: {error}") from error
    if os.path.isdir(path):  # noqa: PTH112 - os.open of a folder succeeds
        os.close(descriptor)
        raise InputError(f"{path} is a folder, not a file")
    return descriptor


def read_fully(descriptor: int, offset: int, buffer: Buffer, path: Path) -> None:
    """Fill the buffer by pread, or raise SourceCutShortError."""
    view = memoryview(buffer)
    done = 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if count == 0:
            raise SourceCutShortError(f"{path} ends at {offset + done}, {len(view) - done} bytes too early")
        done += count


def write_fully(descriptor: int, offset: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of it by pwrite; OSError such as ENOSPC is the caller's to translate."""
    view = memoryview(data)
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], offset + done)
