"""Keeps what a run has told its listener, for the result and the manifest."""

from __future__ import annotations

import threading

from vbm.ids import DiskKey
from vbm.progress import Progress


class Recorder:
    """Passes everything on and remembers notes and warnings. Thread-safe."""

    def __init__(self, listener: Progress) -> None:
        self._listener = listener
        self._lock = threading.Lock()
        self._notes: list[str] = []
        self._warnings: list[str] = []

    @property
    def notes(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._notes)

    @property
    def warnings(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._warnings)

    def phase(self, name: str) -> None:
        self._listener.phase(name)

    def disk(self, key: DiskKey, label: str, total_bytes: int) -> None:
        self._listener.disk(key, label, total_bytes)

    def advance(self, key: DiskKey, size_bytes: int) -> None:
        self._listener.advance(key, size_bytes)

    def note(self, message: str) -> None:
        with self._lock:
            self._notes.append(message)
        self._listener.note(message)

    def warn(self, message: str) -> None:
        with self._lock:
            self._warnings.append(message)
        self._listener.warn(message)
