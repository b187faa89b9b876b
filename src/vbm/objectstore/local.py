"""Objects as files below a folder, on a local disk or NFS.

A put writes a temporary file, syncs it, links it under its name (which fails where the name is taken:
put-if-absent, on NFS too), removes the temporary name and syncs the folder. A file that a crash left under a
temporary name is never listed; ``sweep`` removes those older than a day.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
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
from vbm.objectstore.open_files import OpenFiles

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
        self._files = OpenFiles(_OPEN_FILES)

    def put(self, key: str, parts: Sequence[Data]) -> None:
        check_key(key)
        upload = self.begin_upload()
        try:
            upload.write_all(parts)
            upload.commit(key)
        finally:
            upload.abort()

    def begin_upload(self) -> LocalUpload:
        """An object that is written piece by piece, straight to a temporary file. See ``streaming.py``."""
        try:
            self.make_folder(self.root)
            return LocalUpload(self)
        except OSError as error:
            raise self.translated(error, "") from error

    def get(self, key: str) -> bytes:
        try:
            with open(self.path(key), "rb", opener=_no_link) as file:
                return file.read()
        except OSError as error:
            raise self._unreadable(error, key) from error

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        path = self.path(key)
        try:
            with self._files.use(path) as descriptor:
                data = os.pread(descriptor, length, offset)
        except OSError as error:
            self._files.forget(path)
            raise self._unreadable(error, key) from error
        if len(data) != length:
            raise DamagedError(f"{self.url}: {key} ends before byte {offset + length}", key=key)
        return data

    def size(self, key: str) -> int:
        try:
            status = self.path(key).lstat()
        except OSError as error:
            raise self._unreadable(error, key) from error
        if not stat.S_ISREG(status.st_mode):
            raise ObjectMissingError(f"{self.url}: {key} is not an object")
        return status.st_size

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder = prefix.rpartition("/")[0]
        if folder:
            check_key(folder)
        return self._walk(self.root / folder, f"{folder}/" if folder else "", prefix)

    def delete(self, key: str) -> None:
        path = self.path(key)
        self._files.forget(path)
        try:
            path.unlink()
            _sync_folder(path.parent)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise self.translated(error, key) from error

    def space(self) -> Space | None:
        try:
            found, device = os.statvfs(self.root), self.root.stat().st_dev
        except OSError as error:
            raise self.translated(error, "") from error
        volume = f"{found.f_fsid:x}" if found.f_fsid else f"device {device:x}"  # NFS has no id of its own
        return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, volume)

    def close(self) -> None:
        self._files.close()

    def sweep(self, clock: Clock | None = None) -> int:
        """Remove what crashed writers left under temporary names for more than a day; how many there were."""
        oldest = ((clock or SystemClock()).now() - _STALE).timestamp()
        stale = [path for path in self.root.glob(".tmp-*") if path.lstat().st_mtime < oldest]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)

    def path(self, key: str) -> Path:
        """Where that object lies; below the root whatever the key. Raises InputError."""
        if any(_TEMPORARY.fullmatch(segment) for segment in key.split("/")):
            raise InputError(f"not an object key: {key[:80]!r} is the name of a temporary file")
        return self.root / check_key(key)

    def make_folder(self, folder: Path) -> None:
        """Create what is missing, and make each new name durable in its parent."""
        missing = []
        while not folder.is_dir():
            if folder.exists() and not folder.is_dir():  # asked again: it may have been made since
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            try:
                new.mkdir(mode=0o700, exist_ok=True)
            except FileNotFoundError as error:  # its parent is there: a file system that takes no folders
                raise PermissionError(errno.EPERM, f"no folder can be made in {new.parent}") from error
            _sync_folder(new.parent)

    def _walk(self, folder: Path, base: str, prefix: str) -> Iterator[ObjectInfo]:
        try:
            with os.scandir(folder) as found:
                entries = [(entry, entry.is_dir(follow_symlinks=False)) for entry in found]
        except FileNotFoundError:
            return
        except OSError as error:
            raise self.translated(error, base) from error
        for entry, is_folder in entries:
            key = base + entry.name
            if is_folder:
                if key.startswith(prefix) or prefix.startswith(f"{key}/"):
                    yield from self._walk(folder / entry.name, f"{key}/", prefix)
            elif key.startswith(prefix) and not _TEMPORARY.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if not stat.S_ISREG(status.st_mode):
                        continue
                    yield ObjectInfo(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def _unreadable(self, error: OSError, key: str) -> Exception:
        if isinstance(error, NotADirectoryError | IsADirectoryError) or error.errno == errno.ELOOP:
            return ObjectMissingError(f"{self.url}: {key} is not an object")
        if error.errno == errno.EIO:  # a bad sector: asking again does not help, other objects may be well
            return DamagedError(f"{self.url}: {key} can't be read from the disk", key=key)
        return self.translated(error, key)

    def translated(self, error: OSError, key: str) -> Exception:
        """The error of the contract that says what happened to that key."""
        where = f"{self.url}: {key}" if key else self.url
        if isinstance(error, FileNotFoundError):
            return ObjectMissingError(f"{where} does not exist")
        if error.errno in _FULL:
            return StoreFullError(f"{where}: no space left", hint="free space, or run garbage collection")
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            return NotAllowedError(f"{where}: {error.strerror}", hint="check owner and mode of the folder")
        if isinstance(error, NotADirectoryError | IsADirectoryError):
            return InputError(f"{where}: {error.strerror}", hint="a file is where a folder should be")
        return TransientError(f"{where}: {error.strerror or error}")


class LocalUpload:
    """A temporary file in the store's root that becomes an object by being linked under its name."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._path = store.root / f".tmp-{secrets.token_hex(8)}"
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, data: Data) -> None:
        self.write_all([data])

    def write_all(self, parts: Sequence[Data]) -> None:
        """All parts in few system calls. Raises StoreFullError, TransientError."""
        try:
            for batch in _batches(parts):
                _write_views(self._descriptor, batch)
        except OSError as error:
            self.abort()
            raise self._store.translated(error, "") from error

    def commit(self, key: str) -> None:
        target = self._store.path(key)
        try:
            os.fsync(self._descriptor)
            self._store.make_folder(target.parent)
            self._link(target)
            self.abort()
            _sync_folder(target.parent)
        except FileExistsError as error:
            raise ObjectExistsError(f"{self._store.url}: {key} exists already") from error
        except OSError as error:
            raise self._store.translated(error, key) from error
        finally:
            self.abort()

    def _link(self, target: Path) -> None:
        try:
            os.link(self._path, target)
        except FileExistsError:
            # An NFS client that repeats a request whose answer was lost is told that the name exists.
            if self._path.stat().st_nlink != 2:
                raise

    def abort(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            with suppress(OSError):
                self._path.unlink()


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


def _write_views(descriptor: int, views: list[memoryview]) -> None:
    while views:
        written = os.writev(descriptor, views)
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
