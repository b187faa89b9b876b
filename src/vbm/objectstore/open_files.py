"""A few files kept open for reading, so that many small reads of one file open it once."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class _File:
    descriptor: int
    users: int = 0
    kept: bool = True  # False: to be closed by its last user


class OpenFiles:
    """At most ``limit`` idle descriptors. Thread-safe; a file in use is never closed under its reader."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._open: OrderedDict[Path, _File] = OrderedDict()

    @contextmanager
    def use(self, path: Path) -> Iterator[int]:
        """The file's descriptor for as long as the block runs. Raises OSError, also where it is a symbolic link."""
        with self._lock:
            file = self._open.get(path)
            if file is not None and os.fstat(file.descriptor).st_nlink == 0:
                self._drop(path)  # deleted, by another process perhaps
                file = None
            if file is None:
                file = self._open[path] = _File(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
            self._open.move_to_end(path)
            file.users += 1
            self._shrink()
        try:
            yield file.descriptor
        finally:
            with self._lock:
                file.users -= 1
                if file.users == 0 and not file.kept:
                    os.close(file.descriptor)

    def forget(self, path: Path) -> None:
        """The next use opens it anew."""
        with self._lock:
            self._drop(path)

    def close(self) -> None:
        """Close all that is idle, and the rest when it becomes so."""
        with self._lock:
            for path in list(self._open):
                self._drop(path)

    def _shrink(self) -> None:
        excess = len(self._open) - self._limit
        if excess > 0:
            for path in [path for path, file in self._open.items() if file.users == 0][:excess]:
                self._drop(path)

    def _drop(self, path: Path) -> None:
        file = self._open.pop(path, None)
        if file is None:
            return
        file.kept = False
        if file.users == 0:
            os.close(file.descriptor)
