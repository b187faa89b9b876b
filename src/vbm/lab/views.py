"""Container and list views: what a client asked to see, kept until it destroys them."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class View:
    """A container view (``container`` set) or a list view (``members`` set)."""

    moid: str
    owner: str  # session key
    container: Any = None
    types: list[str] = field(default_factory=list)
    recursive: bool = False
    members: list[Any] = field(default_factory=list)


class Views:
    """The views of all sessions. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._views: dict[str, View] = {}
        self._numbers = itertools.count(1)

    def add(self, owner: str, **fields: Any) -> View:
        with self._lock:
            number = next(self._numbers)
            view = View(f"session[{owner}]52{number:06d}", owner, **fields)
            self._views[view.moid] = view
        return view

    def find(self, moid: str) -> View | None:
        with self._lock:
            return self._views.get(moid)

    def remove(self, moid: str) -> None:
        with self._lock:
            self._views.pop(moid, None)

    def all(self) -> list[View]:
        with self._lock:
            return [*self._views.values()]
