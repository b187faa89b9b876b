"""How many requests one host gets at once from this process: few, and fewer when it says that it is busy.

ESXi and vCenter count requests and answer 503 beyond their limit. The gate of a host is shared by all disks
and all runs of the process. On 503 nobody asks for a while, then half as many do; going well opens it again.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from vbm.cancel import CancelToken
from vbm.clock import Clock, SystemClock

_TURN_SECONDS: Final = 0.25
LONGEST_RETRY_AFTER: Final = 120.0


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """``most`` requests at once (1–8 are sensible); after ``reopen_after`` good ones in a row one more again."""

    most: int = 4
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 60.0
    reopen_after: int = 32


class HostGate:
    """Thread-safe."""

    def __init__(self, policy: GatePolicy | None = None, clock: Clock | None = None) -> None:
        self._policy = policy or GatePolicy()
        self._clock = clock or SystemClock()
        self._changed = threading.Condition()
        self._allowed = self._policy.most
        self._inside = 0
        self._pauses = 0  # in a row
        self._epoch = 0
        self._closed_until = 0.0
        self._good = 0

    @property
    def allowed(self) -> int:
        """How many may be inside now."""
        with self._changed:
            return self._allowed

    @contextmanager
    def slot(self, cancel: CancelToken) -> Iterator[int]:
        """Wait for a turn and hold it. The value is to be handed to ``overloaded``."""
        epoch = self._enter(cancel)
        try:
            yield epoch
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify()

    def overloaded(self, epoch: int, retry_after_seconds: float | None) -> None:
        """The host refused a request as too busy. Requests of one burst count once."""
        with self._changed:
            if epoch != self._epoch:
                return
            self._epoch += 1
            self._good = 0
            self._allowed = max(1, self._allowed // 2)
            self._closed_until = self._clock.monotonic() + self._pause(retry_after_seconds)
            self._pauses += 1

    def went_well(self) -> None:
        """A request was answered."""
        with self._changed:
            self._pauses = 0
            self._good += 1
            if self._good >= self._policy.reopen_after and self._allowed < self._policy.most:
                self._allowed += 1
                self._good = 0
                self._changed.notify()

    def _pause(self, asked_seconds: float | None) -> float:
        if asked_seconds is not None:
            base = min(asked_seconds, LONGEST_RETRY_AFTER)
        else:
            base = min(
                self._policy.longest_pause_seconds, self._policy.first_pause_seconds * 2.0**self._pauses
            )
        return base * (1 + random.random() / 4)  # noqa: S311 - spreads load, no secret

    def _enter(self, cancel: CancelToken) -> int:
        with self._changed:
            while True:
                cancel.check()
                closed_for = self._closed_until - self._clock.monotonic()
                if closed_for <= 0 and self._inside < self._allowed:
                    self._inside += 1
                    return self._epoch
                self._changed.wait(min(_TURN_SECONDS, closed_for) if closed_for > 0 else _TURN_SECONDS)


class HostGates:
    """The gate of each host. Thread-safe."""

    def __init__(self, policy: GatePolicy | None = None, clock: Clock | None = None) -> None:
        self.policy = policy or GatePolicy()
        self._clock = clock
        self._lock = threading.Lock()
        self._gates: dict[tuple[str, int], HostGate] = {}

    def of(self, host: str, port: int) -> HostGate:
        with self._lock:
            key = (host.lower(), port)
            if key not in self._gates:
                self._gates[key] = HostGate(self.policy, self._clock)
            return self._gates[key]


GATES: Final = HostGates()  # of this process: hosts count requests of all runs together
