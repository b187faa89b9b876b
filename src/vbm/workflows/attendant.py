"""Looks after the runs of this process once a second: heartbeat, cancel requests, deadlines, windows, progress.

A process that finds itself declared dead ends at once, without tidying up: its runs belong to others. One that is cut
off from the database pauses its reads after half the time after which others will think it dead.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Final

from vbm.catalog.runs import find_run
from vbm.catalog.workers import beat
from vbm.clock import Clock, SystemClock
from vbm.errors import VbmError
from vbm.workflows.admission import window_of, window_open
from vbm.workflows.doors import Doors
from vbm.workflows.live import FENCED_EXIT, LiveRun, LiveRuns

EVERY_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


class Attendant:
    """A thread from ``start`` to ``stop``."""

    def __init__(
        self, doors: Doors, worker_id: str, runs: LiveRuns, ttl_seconds: float, ticks: Clock | None = None
    ) -> None:
        self._doors, self._worker_id, self._runs = doors, worker_id, runs
        self._ttl_seconds = ttl_seconds
        self._ticks = ticks or SystemClock()
        self._last = self._ticks.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="attendant", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except VbmError as error:
                _log.warning("the catalog does not answer: %s", error.message)
                self._cut_off()
            self._stop.wait(EVERY_SECONDS)

    def look(self) -> None:
        """One round. Raises the catalog's errors."""
        with self._doors.catalog.writing() as session:
            alive = beat(session, self._worker_id)
        if not alive:
            os._exit(FENCED_EXIT)
        self._last = self._ticks.monotonic()
        for live in self._runs.all():
            self._attend(live)

    def _attend(self, live: LiveRun) -> None:
        with self._doors.catalog.reading() as session:
            run = find_run(session, live.run.id)
        if run is None or run.token != live.token:
            return  # its next step finds out
        now = self._doors.clock.now()
        if run.cancel_requested_at is not None:
            live.stop.stop("cancelled", run.cancel_reason or "a person asked for it")
        elif run.deadline is not None and now >= run.deadline:
            live.stop.stop("deadline", f"the run of {run.vm_name} passed its deadline")
        elif window_open(run, now):
            live.stop.go_on()
        else:
            self._window_closed(live)
        live.progress.flush()

    def _window_closed(self, live: LiveRun) -> None:
        window = window_of(live.run)
        if window is not None and window.at_end == "pause":
            if not live.stop.paused:
                live.progress.note("the backup window has closed: paused until it opens again")
            live.stop.pause()
        else:
            live.stop.stop("window", f"the backup window closed while {live.run.vm_name} was being read")

    def _cut_off(self) -> None:
        if self._ticks.monotonic() - self._last > self._ttl_seconds / 2:
            for live in self._runs.all():
                live.stop.pause()
