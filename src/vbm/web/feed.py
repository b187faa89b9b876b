"""Which of the runs that somebody looks at have changed: asked of the database twice a second for all streams together.

A hundred open pages on which nothing happens cost one small question each half second, not a hundred.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Final

from fastapi.concurrency import run_in_threadpool

from vbm.clock import Clock, SystemClock
from vbm.services import runs
from vbm.services.workspace import Workspace

LOOK_SECONDS: Final = 0.5


class Feed:
    """For one event loop: its streams take turns by themselves."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._watched: Counter[str] = Counter()
        self._marks: dict[str, Hashable] = {}
        self._looked = float("-inf")

    @contextmanager
    def watching(self, run_id: str) -> Iterator[None]:
        """Around a stream: as long as one is open the run is asked about."""
        self._watched[run_id] += 1
        try:
            yield
        finally:
            self._watched[run_id] -= 1
            if not self._watched[run_id]:
                del self._watched[run_id]

    async def mark(self, workspace: Workspace, run_id: str) -> Hashable | None:
        """Another one than before where the run may have changed; None: not known yet."""
        now = self._clock.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now  # the others make do with what is known until this one has its answer
            self._marks = await run_in_threadpool(runs.marks, workspace, tuple(self._watched))
        return self._marks.get(run_id)
