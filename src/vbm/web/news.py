"""Whether the work under way has changed for those who look on: asked of the database once for all open pages.

One question a second serves every stream while nothing happens. Only where its answer is another one is it looked what
has changed for whom: once for all who may see the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Final

from fastapi.concurrency import run_in_threadpool

from vbm.clock import Clock, SystemClock
from vbm.services import live
from vbm.services.identity import Identity
from vbm.services.live import Live
from vbm.services.workspace import Workspace

NEWS_SECONDS: Final = 1.0


class News:
    """For one event loop: its streams take turns by themselves."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._looked = float("-inf")
        self._stir: Hashable = None
        self._round = 0
        self._listening: Counter[Hashable] = Counter()
        self._known: dict[Hashable, tuple[int, Live | None]] = {}

    @contextmanager
    def listening(self, who: Identity) -> Iterator[None]:
        """Around a stream: as long as one is open it is remembered how things stand for those like ``who``."""
        self._listening[who.scope] += 1
        try:
            yield
        finally:
            self._listening[who.scope] -= 1
            if not self._listening[who.scope]:
                del self._listening[who.scope]
                self._known.pop(who.scope, None)

    async def live(self, workspace: Workspace, who: Identity) -> Live | None:
        """How things stand for ``who``, who asks; None: not known yet."""
        now = self._clock.monotonic()
        if now - self._looked >= NEWS_SECONDS:
            self._looked = now  # the others make do with what is known until this one has its answer
            stir = await run_in_threadpool(live.stir, workspace)
            if stir != self._stir:
                self._stir, self._round = stir, self._round + 1
        known_round, known = self._known.get(who.scope, (-1, None))
        if known_round != self._round:
            self._known[who.scope] = self._round, known
            known = await run_in_threadpool(live.live, workspace)
            if who.scope in self._listening:
                self._known[who.scope] = self._known[who.scope][0], known
        return known
