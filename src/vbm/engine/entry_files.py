"""Files that say what processes own: one JSON document each, and a lock that ends with its process, however that dies.

Flushed to disk. Thread-safe; several processes may use one folder, also from containers that don't see one another.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from vbm.engine.durable_file import remove_file, replace_file
from vbm.errors import InputError

_FORMAT: Final = 1


class EntryFiles:
    """``name.json`` and ``name.lock`` in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    def read(self, name: str) -> dict[str, Any] | None:
        """None where there is none, or the file can't have been written by us whole."""
        return _read(self._file(name))

    def all(self) -> list[dict[str, Any]]:
        """By name. What is no entry is passed over."""
        files = sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []
        return [document for file in files if (document := _read(file)) is not None]

    def write(self, name: str, document: dict[str, Any]) -> None:
        """Durable when it returns."""
        self._folder.mkdir(parents=True, exist_ok=True)
        replace_file(self._file(name), json.dumps({"format": _FORMAT, **document}, indent=1).encode())

    def remove(self, name: str) -> None:
        remove_file(self._file(name))
        self.let_go(name, remove=True)

    def hold(self, name: str) -> None:
        """Lock the entry for as long as this process lives, or lets it go."""
        with self._lock:
            if name not in self._held:
                self._folder.mkdir(parents=True, exist_ok=True)
                descriptor = _open_lock(self._folder / f"{name}.lock")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._held[name] = descriptor

    def let_go(self, name: str, *, remove: bool = False) -> None:
        with self._lock:
            descriptor = self._held.pop(name, -1)
            if remove:
                (self._folder / f"{name}.lock").unlink(missing_ok=True)
            if descriptor >= 0:
                os.close(descriptor)

    def is_held(self, name: str) -> bool:
        """By this process, or another one on this home."""
        file = self._folder / f"{name}.lock"
        if name in self._held:
            return True
        if not file.exists():
            return False
        descriptor = _open_lock(file)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """One process at a time decides who owns an entry."""
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = _open_lock(self._folder / ".claims")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _file(self, name: str) -> Path:
        if not name or "/" in name or name.startswith("."):
            raise InputError(f"not a name of ours: {name!r}")
        return self._folder / f"{name}.json"


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(file.read_bytes())
        del document["format"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return document
