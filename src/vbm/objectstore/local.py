"""Objects as files below a folder, on a local disk or NFS.

A put writes a temporary file in the target's folder, syncs it, links it under its name (which fails where the
name is taken: put-if-absent, on NFS too), removes the temporary name and syncs the folder. A file that a crash
left under a temporary name is never listed; ``sweep`` removes those older than a day.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from vbm.clock import Clock, SystemClock
from vbm.errors import DamagedError, InputError, NotAllowedError, TransientError
from vbm.objectstore.base import (
    Data,
    ObjectExistsError,
    ObjectInfo,
    ObjectMissingError,
    Space,
    StoreFullError,
)
from vbm.objectstore.keys import check_key

_TEMPORARY: Final = re.compile(r"\.tmp-[0-9a-f]{16}")
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_OPEN_FILES: Final = 64
_STALE: Final = timedelta(days=1)
_PIECES: Final = 256  # parts in one gathered write; IOV_MAX is 1024
_GATHERED_BYTES: Final = 8 * 1024 * 1024


class LocalStore:
    """The contract of ``ObjectStore`` on a file system. Thread-safe, and safe among processes and machines."""

    def __init__(self, path: Path) -> None:
        self.root = path.expanduser().absolute()
        self.url = f"file://{self.root}"
        self._files = _OpenFiles(_OPEN_FILES)

    def put(self, key: str, parts: Sequence[Data]) -> None:
        target = self._path(key)
        temporary = target.parent / f".tmp-{secrets.token_hex(8)}"
        try:
            self._make_folder(target.parent)
            try:
                _write(temporary, parts)
                os.link(temporary, target)
            finally:
                with suppress(FileNotFoundError):
                    temporary.unlink()
            _sync_folder(target.parent)
        except FileExistsError as error:
            raise ObjectExistsError(f"{self.url}: {key} exists already") from error
        except OSError as error:
            raise self._translated(error, key) from error

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except OSError as error:
            raise self._translated(error, key) from error

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        try:
            with self._files.use(self._path(key)) as descriptor:
                data = os.pread(descriptor, length, offset)
        except OSError as error:
            raise self._translated(error, key) from error
        if len(data) != length:
            raise DamagedError(f"{self.url}: {key} ends before byte {offset + length}", key=key)
        return data

    def size(self, key: str) -> int:
        try:
            return self._path(key).stat().st_size
        except OSError as error:
            raise self._translated(error, key) from error

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder = prefix.rpartition("/")[0]
        if folder:
            check_key(folder)
        return self._walk(self.root / folder, f"{folder}/" if folder else "", prefix)

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            self._files.forget(path)
            path.unlink()
            _sync_folder(path.parent)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._translated(error, key) from error

    def space(self) -> Space | None:
        try:
            found = os.statvfs(self.root)
        except OSError as error:
            raise self._translated(error, "") from error
        return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)

    def close(self) -> None:
        self._files.close()

    def sweep(self, clock: Clock | None = None) -> int:
        """Remove what crashed writers left under temporary names for more than a day; how many there were."""
        oldest = ((clock or SystemClock()).now() - _STALE).timestamp()
        stale = [path for path in self.root.rglob(".tmp-*") if path.lstat().st_mtime < oldest]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _make_folder(self, folder: Path) -> None:
        """Create what is missing, and make each new name durable in its parent."""
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            new.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(new.parent)

    def _walk(self, folder: Path, base: str, prefix: str) -> Iterator[ObjectInfo]:
        try:
            with os.scandir(folder) as found:
                entries = [(entry, entry.is_dir(follow_symlinks=False)) for entry in found]
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._translated(error, base) from error
        for entry, is_folder in entries:
            key = base + entry.name
            if is_folder:
                if key.startswith(prefix) or prefix.startswith(f"{key}/"):
                    yield from self._walk(folder / entry.name, f"{key}/", prefix)
            elif key.startswith(prefix) and not _TEMPORARY.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    yield ObjectInfo(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def _translated(self, error: OSError, key: str) -> Exception:
        where = f"{self.url}: {key}" if key else self.url
        if isinstance(error, FileNotFoundError):
            return ObjectMissingError(f"{where} does not exist")
        if error.errno in _FULL:
            return StoreFullError(f"{where}: no space left", hint="free space, or run garbage collection")
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            return NotAllowedError(f"{where}: {error.strerror}", hint="check owner and mode of the folder")
        if isinstance(error, NotADirectoryError | IsADirectoryError):
            return InputError(f"{where}: {error.strerror}")
        return TransientError(f"{where}: {error.strerror or error}")


class _OpenFiles:
    """A few files kept open for reading; a file in use is not closed under its reader."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._open: OrderedDict[Path, _OpenFile] = OrderedDict()

    def use(self, path: Path) -> _OpenFile:
        with self._lock:
            file = self._open.pop(path, None)
            if file is None:
                file = _OpenFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            self._open[path] = file
            file.users += 1
            for idle in [p for p, f in self._open.items() if f.users == 0][: len(self._open) - self._limit]:
                os.close(self._open.pop(idle).descriptor)
        file.lock = self._lock
        return file

    def forget(self, path: Path) -> None:
        with self._lock:
            file = self._open.get(path)
            if file is not None and file.users == 0:
                os.close(self._open.pop(path).descriptor)

    def close(self) -> None:
        with self._lock:
            for file in self._open.values():
                os.close(file.descriptor)
            self._open.clear()


class _OpenFile:
    """``with`` holds it open; several threads may at once."""

    lock: threading.Lock

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.users = 0

    def __enter__(self) -> int:
        return self.descriptor

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.users -= 1


def _write(path: Path, parts: Sequence[Data]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        for batch in _batches(parts):
            _write_all(descriptor, batch)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _batches(parts: Sequence[Data]) -> Iterator[list[memoryview]]:
    """Parts gathered for few writes; ``parts`` may make each one when it is asked for."""
    batch: list[memoryview] = []
    size = 0
    for part in parts:
        batch.append(memoryview(part))
        size += len(part)
        if len(batch) == _PIECES or size >= _GATHERED_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write_all(descriptor: int, views: list[memoryview]) -> None:
    while views:
        written = os.writev(descriptor, views)
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
