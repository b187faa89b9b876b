"""Progress of long work, told to whoever listens: a terminal, a log, a database row."""

from __future__ import annotations

from typing import Protocol

from vbm.ids import DiskKey


class Progress(Protocol):
    """Listener of one run. Calls come from several threads and must return quickly.

    Order: ``phase`` → ``disk`` for each disk → ``advance`` many times; ``note`` at any time.
    """

    def phase(self, name: str) -> None:
        """A phase begins: connecting, snapshot, downloading, compressing, committing, cleanup, done."""

    def disk(self, key: DiskKey, label: str, total_bytes: int) -> None:
        """A disk's work is planned: ``total_bytes`` will be reported by ``advance``. May be repeated."""

    def advance(self, key: DiskKey, size_bytes: int) -> None:
        """More bytes of that disk are done."""

    def note(self, message: str) -> None:
        """Something a person would want to know: a fallback and its reason, a retry."""

    def warn(self, message: str) -> None:
        """Something a person must know; the run ends as *warning* at best."""


class Silent:
    """Listens to nothing."""

    def phase(self, name: str) -> None:
        pass

    def disk(self, key: DiskKey, label: str, total_bytes: int) -> None:
        pass

    def advance(self, key: DiskKey, size_bytes: int) -> None:
        pass

    def note(self, message: str) -> None:
        pass

    def warn(self, message: str) -> None:
        pass
