"""``DIR/events.jsonl``: what happened when, one JSON line each, for people and tests to read afterwards."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from vbm.clock import Clock, rfc3339


class EventLog:
    """Thread-safe. Each line is one write, so that other processes may append too. Silent once closed."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor: int | None = os.open(path, flags, 0o644)

    def write(self, event: str, fields: dict[str, object]) -> None:
        line = json.dumps({"time": rfc3339(self._clock.now()), "event": event, **fields}, ensure_ascii=False)
        with self._lock:
            if self._descriptor is not None:
                os.write(self._descriptor, line.encode("utf-8", "replace") + b"\n")

    def close(self) -> None:
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = None
