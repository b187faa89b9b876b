"""A ceiling on bytes a second, shared by every thread of a run."""

from __future__ import annotations

import threading
from typing import Final

from vbm.cancel import CancelToken
from vbm.clock import Clock

_SLICE_SECONDS: Final = 0.25  # how soon a wait notices that somebody cancelled


class RateLimit:
    """A token bucket: one second's worth may go at once, after that each taker waits its turn. Thread-safe.

    ``bytes_per_second`` 0 means no limit. What is asked for is always granted whole, after the wait.
    """

    def __init__(self, bytes_per_second: int, clock: Clock) -> None:
        self._rate = bytes_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock.monotonic() - 1.0

    def take(self, size_bytes: int, cancel: CancelToken) -> None:
        """Return when that many bytes may be read. Raises CancelledError while it waits."""
        if self._rate <= 0:
            return
        with self._lock:
            due = max(self._free_at, self._clock.monotonic() - 1.0)
            self._free_at = due + size_bytes / self._rate
        while (left := due - self._clock.monotonic()) > 0:
            cancel.check()
            self._clock.sleep(min(left, _SLICE_SECONDS))
        cancel.check()
