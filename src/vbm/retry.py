"""Retries with exponential waits: one loop for the whole product."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from vbm.cancel import CancelToken
from vbm.errors import VbmError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most ``attempts`` tries; waits grow from ``first_seconds`` by ``factor`` to ``longest_seconds``."""

    attempts: int = 5
    first_seconds: float = 0.5
    factor: float = 2.0
    longest_seconds: float = 30.0

    def wait_seconds(self, failures: int) -> float:
        """The wait after that many failures, up to a quarter longer at random so that clients spread out."""
        base = min(self.longest_seconds, self.first_seconds * self.factor ** (failures - 1))
        return base * (1 + random.random() / 4)  # noqa: S311 - spreads load, no secret


def is_transient(error: Exception) -> bool:
    """Whether the error says of itself that the same call may succeed later."""
    return isinstance(error, VbmError) and not error.permanent


def retry(
    call: Callable[[], T],
    policy: RetryPolicy,
    cancel: CancelToken,
    *,
    transient: Callable[[Exception], bool] = is_transient,
    on_retry: Callable[[Exception, int], None] | None = None,
) -> T:
    """The result of ``call``, tried again while its error is transient. The last error is raised as it is.

    ``on_retry(error, failures)`` is told before each wait. Waiting ends at once when cancelled.
    """
    failures = 0
    while True:
        cancel.check()
        try:
            return call()
        except Exception as error:
            failures += 1
            if failures >= policy.attempts or not transient(error):
                raise
            if on_retry is not None:
                on_retry(error, failures)
        cancel.wait(policy.wait_seconds(failures))
