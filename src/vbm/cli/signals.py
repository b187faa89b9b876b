"""Ctrl-C and SIGTERM ask the work to stop in order, so that snapshots are removed before the process ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from vbm.cancel import CancelToken

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def cancellable(finishing: str) -> Iterator[CancelToken]:
    """A token that the first signal cancels. Later ones say ``finishing``: what is being put in order.

    For the main thread. The handlers from before are back afterwards.
    """
    token = CancelToken()

    def stop(number: int, _frame: FrameType | None) -> None:
        if token.cancelled:
            _write(f"\nStill stopping: {finishing}. Please wait.\n")
            return
        name = {signal.SIGINT: "Ctrl-C"}.get(signal.Signals(number), signal.Signals(number).name)
        token.cancel(name)
        _write(f"\n{name}: stopping.\n")

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield token
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write(message: str) -> None:
    """Straight to the descriptor: a signal may arrive in the middle of a buffered write."""
    try:
        os.write(2, message.encode())
    except OSError:
        pass
