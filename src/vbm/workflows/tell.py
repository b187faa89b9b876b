"""Collects what a run tells and writes it into its rows: phases at once, bytes and log lines once a second."""

from __future__ import annotations

import threading
from typing import Any

from vbm.catalog.catalog import Catalog
from vbm.catalog.run_log import LogLine, append_lines
from vbm.catalog.runs import change_run
from vbm.clock import Clock
from vbm.errors import VbmError
from vbm.ids import DiskKey
from vbm.workflows import points


class RowProgress:
    """Progress of one run for its row. Thread-safe; a database that is away for a while loses nothing told."""

    def __init__(self, catalog: Catalog, clock: Clock, run_id: str, token: int) -> None:
        self._catalog, self._clock = catalog, clock
        self._run_id, self._token = run_id, token
        self._lock = threading.Lock()
        self._totals: dict[DiskKey, int] = {}
        self._done: dict[DiskKey, int] = {}
        self._labels: dict[DiskKey, str] = {}
        self._lines: list[LogLine] = []
        self._warnings: list[str] = []
        self._values: dict[str, Any] = {}

    @property
    def warnings(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._warnings)

    def phase(self, name: str) -> None:
        with self._lock:
            self._values["phase"] = name
            if name == "downloading":
                self._values["reading_since"] = self._clock.now()
        try:
            self.flush()
        except VbmError:
            pass  # the next flush has it
        points.reach(f"phase.{name}")

    def disk(self, key: DiskKey, label: str, total_bytes: int) -> None:
        with self._lock:
            self._totals[key], self._labels[key] = total_bytes, label
            self._values["bytes_total"] = sum(self._totals.values())

    def advance(self, key: DiskKey, size_bytes: int) -> None:
        with self._lock:
            self._done[key] = self._done.get(key, 0) + size_bytes
            self._values["bytes_done"] = sum(self._done.values())
        points.reach("advance")

    def _disks(self) -> list[dict[str, Any]]:
        return [
            {
                "key": key,
                "label": label,
                "bytes_total": self._totals[key],
                "bytes_done": self._done.get(key, 0),
            }
            for key, label in self._labels.items()
        ]

    def begin_anew(self) -> None:
        """An attempt that does everything again counts from zero."""
        with self._lock:
            self._totals.clear()
            self._done.clear()
            self._labels.clear()
            self._values |= {"bytes_total": 0, "bytes_done": 0, "disks": []}

    def note(self, message: str) -> None:
        self._say("info", message)

    def warn(self, message: str) -> None:
        with self._lock:
            self._warnings.append(message)
        self._say("warning", message)

    def _say(self, level: str, message: str) -> None:
        with self._lock:
            self._lines.append(LogLine(self._clock.now(), level, message))

    def flush(self) -> None:
        """Write what was told since the last time. Raises the catalog's errors; nothing is lost then."""
        with self._lock:
            values, lines = self._values, self._lines
            self._values, self._lines = {}, []
            if "bytes_total" in values or "bytes_done" in values:
                values["disks"] = self._disks()
        if not values and not lines:
            return
        try:
            with self._catalog.writing() as session:
                if values:
                    change_run(session, self._run_id, self._token, values)
                append_lines(session, self._run_id, lines)
        except VbmError:
            with self._lock:
                self._values = values | self._values
                self._lines = lines + self._lines
            raise
