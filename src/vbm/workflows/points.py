"""Named points in a run, told to a listener: where a crash test ends the process."""

from __future__ import annotations

from collections.abc import Callable

_listeners: list[Callable[[str], None]] = []


def listen(listener: Callable[[str], None]) -> None:
    """Call it at each point from now on, in the thread that reaches it."""
    _listeners.append(listener)


def reach(name: str) -> None:
    for listener in _listeners:
        listener(name)
