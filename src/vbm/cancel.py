"""Cooperative cancellation: long work asks ``check()`` between chunks and in waits."""

from __future__ import annotations

import threading

from vbm.errors import CancelledError


class CancelToken:
    """Set once, from any thread or a signal handler; never unset. Thread-safe."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._reason = ""

    def cancel(self, reason: str) -> None:
        """Ask to stop. The first reason is kept."""
        if not self._event.is_set():
            self._reason = reason
            self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    @property
    def reason(self) -> str:
        return self._reason

    def check(self) -> None:
        """Raise CancelledError if somebody has asked to stop."""
        if self._event.is_set():
            raise CancelledError(f"cancelled: {self._reason}")

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until cancelled, which raises CancelledError."""
        self._event.wait(seconds)
        self.check()
