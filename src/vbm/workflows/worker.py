"""A worker: takes runs within the limits and executes them, fires schedules, sends messages, guards snapshots."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import vbm
from vbm.catalog.preferences import preferences
from vbm.catalog.repository_usage import forget_usage
from vbm.catalog.run_log import prune_lines
from vbm.catalog.runs import (
    RunRecord,
    RunRow,
    change_run,
    hand_back,
    live_runs,
    prune_runs,
    running_of,
    take_run,
)
from vbm.catalog.totals import count_run, forget_totals
from vbm.catalog.workers import (
    WorkerRecord,
    admission_lock,
    bury,
    database_time,
    forget_workers,
    insert_worker,
    set_draining,
    take_turn,
)
from vbm.engine.process import ProcessIdentity
from vbm.errors import VbmError
from vbm.ids import new_id
from vbm.settings import Settings
from vbm.workflows import digest, dispatcher, maintenance, outbox, points, reaper
from vbm.workflows.admission import Reach, choose
from vbm.workflows.attendant import Attendant
from vbm.workflows.doors import Doors
from vbm.workflows.half_made_guard import HalfMadeGuard
from vbm.workflows.live import OWNED, LiveRun
from vbm.workflows.runtime import Runtime
from vbm.workflows.snapshot_guard import SnapshotGuard

TTL_SECONDS: Final = 30.0
_WORKFLOWS_KEPT: Final = timedelta(days=2)  # the runs themselves are kept much longer
_log = logging.getLogger(__name__)


class WorkerRunningError(VbmError):
    """An embedded database has one worker at a time."""

    code = "worker-running"


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """``slots``: runs at once. ``drain_seconds``: how long a stopping worker waits for its runs to end."""

    name: str = field(default_factory=socket.gethostname)
    slots: int = 4
    reach: Reach = field(default_factory=Reach)
    drain_seconds: float = 20.0
    ttl_seconds: float = TTL_SECONDS
    claim_every: float = 0.5
    dispatch_every: float = 2.0
    guard_every: float = 3.0
    maintain_every: float = 60.0


class Worker:
    """``run`` returns when ``stop`` was called and all is handed back. One in a process."""

    def __init__(self, doors: Doors, settings: Settings, options: WorkerOptions | None = None) -> None:
        self._doors, self._settings = doors, settings
        self._options = options or WorkerOptions()
        self.id = new_id(doors.clock.now())
        self._stop = threading.Event()
        self._guard = SnapshotGuard(doors)
        self._half_made = HalfMadeGuard(doors)
        self._guard_due = True

    def stop(self) -> None:
        """Take no more runs, wait for those that are under way, hand back the rest. From any thread."""
        self._stop.set()

    def run(self, ready: Callable[[], None] | None = None) -> None:
        """Work. Raises WorkerRunningError, and the catalog's errors at start."""
        lock = self._only_one()
        if lock is not None:
            reaper.reap_all_but(self._doors, self.id)
        self._register()
        runtime = Runtime.start(self._settings, self.id)
        attendant = Attendant(self._doors, self.id, OWNED, self._options.ttl_seconds)
        attendant.start()
        tickers = self._tickers(runtime)
        for ticker in tickers:
            ticker.start()
        if ready is not None:
            ready()
        self._take_until_stopped(runtime)
        for ticker in tickers:
            ticker.stop()
        self._drain(attendant, runtime)
        if lock is not None:
            os.close(lock)

    # -- start

    def _only_one(self) -> int | None:
        """The lock of an embedded home's worker, held as long as the process lives."""
        if not self._settings.database_url.startswith("sqlite"):
            return None
        self._settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(
            self._settings.home / "worker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise WorkerRunningError(
                f"a worker is running already on {self._settings.home}",
                hint="stop it first; for several workers set VBM_DATABASE_URL to a PostgreSQL database",
            ) from error
        return descriptor

    def _register(self) -> None:
        own = ProcessIdentity.own()
        record = WorkerRecord(
            id=self.id,
            name=self._options.name,
            host=socket.gethostname(),
            pid=own.pid,
            process=f"{own.boot_id}/{own.pid}/{own.started}",
            slots=self._options.slots,
            started=self._doors.clock.now(),
            version=vbm.__version__,
        )
        with self._doors.catalog.writing() as session:
            name = insert_worker(session, record)
        if name != self._options.name:
            _log.warning("there is a worker named %s already; this one is %s", self._options.name, name)

    def _tickers(self, runtime: Runtime) -> list[_Ticker]:
        options = self._options
        return [
            _Ticker("dispatch", options.dispatch_every, self._dispatch),
            _Ticker("outbox", options.dispatch_every, lambda: outbox.send_due(self._doors)),
            _Ticker("guard", options.guard_every, self._watch),
            _Ticker("reap", max(0.5, options.ttl_seconds / 6), self._reap),
            _Ticker("digest", options.maintain_every, lambda: digest.report_if_due(self._doors)),
            _Ticker("housekeeping", 600.0, lambda: self._housekeeping(runtime)),
            _Ticker(
                "maintenance", options.maintain_every, lambda: maintenance.maintain(self._doors, self.id)
            ),
        ]

    # -- periodic work

    def _dispatch(self) -> None:
        dispatcher.fire(self._doors)
        dispatcher.expand(self._doors)

    def _watch(self) -> None:
        with self._doors.catalog.writing() as session:
            every = timedelta(seconds=preferences(session).guard_every_seconds)
            due = take_turn(session, "guard", self.id, self._doors.clock.now(), every)
            quick = take_turn(session, "guard-quick", self.id, self._doors.clock.now(), timedelta(seconds=2))
        if due or self._guard_due:
            self._guard_due = False  # at every start too
            self._guard.look()
            self._half_made.look()
        elif quick:
            self._guard.quick()
            self._guard.report()
            self._half_made.look()

    def _reap(self) -> None:
        reaper.reap(self._doors, self._options.ttl_seconds)

    def _housekeeping(self, runtime: Runtime) -> None:
        now = self._doors.clock.now()
        outbox.prune(self._doors)
        runtime.forget(now - _WORKFLOWS_KEPT)
        with self._doors.catalog.writing() as session:
            kept = timedelta(days=preferences(session).keep_runs_days)
            prune_lines(session, now - kept)
            prune_runs(session, now - kept)
            forget_totals(session, now - kept)
            forget_usage(session)
            forget_workers(session, database_time(session) - 7 * 86400)

    # -- runs

    def _take_until_stopped(self, runtime: Runtime) -> None:
        while not self._stop.is_set():
            try:
                self._hand_back_fallen()
                while len(OWNED) < self._options.slots and not self._stop.is_set() and self._take(runtime):
                    pass
            except VbmError as error:
                _log.warning("no run can be taken now: %s", error.message)
            except Exception:  # noqa: BLE001 - a defect must not end the worker
                _log.exception("no run can be taken now")
            self._stop.wait(self._options.claim_every)

    def _hand_back_fallen(self) -> None:
        """Runs whose journal could not be written wait to be taken again; they go on from their last step.

        So do those of which the catalog says that they are ours and this process knows nothing: it was away while
        they were taken, or while they were given back.
        """
        known = OWNED.ids()  # before the catalog is asked: what ends meanwhile is no stray
        for live in OWNED.fallen():
            self._give_back(live.run.id, live.token)
            OWNED.end(live.run.id)
        with self._doors.catalog.reading() as session:
            owned = running_of(session, self.id)
        for run_id, token in owned.items():
            if run_id not in known:
                _log.warning("run %s was taken and never begun: it is given back", run_id)
                self._give_back(run_id, token)

    def _give_back(self, run_id: str, token: int) -> None:
        with self._doors.catalog.writing() as session:
            change_run(session, run_id, token, {"state": "queued", "worker_id": ""})

    def _take(self, runtime: Runtime) -> bool:
        """Take one run and execute it in a thread; False where none may begin."""
        now = self._doors.clock.now()
        with self._doors.catalog.writing() as session:
            admission_lock(session)
            points.reach("taking")
            limits = preferences(session)
            run = choose(live_runs(session), limits, now, self._options.reach)
            if run is None:
                return False
            token = take_run(session, run, self.id, now)
        live = LiveRun(self._doors, run, token)
        OWNED.add(live)
        points.reach("taken")
        retries = run.document["retries"]
        try:
            attempts, wait_seconds = int(retries["attempts"]), float(retries["wait_seconds"])
            begun = runtime.execute(run.id, run.kind, attempts, wait_seconds)
        except BaseException:
            OWNED.end(run.id)
            self._give_back(run.id, token)  # or in the next round, where the catalog is away
            raise
        if not begun:
            self._close_lost(run, token)
        return True

    def _close_lost(self, run: RunRecord, token: int) -> None:
        """The workflow has ended but the run has not: it was given up after too many crashes."""
        OWNED.end(run.id)
        values = {
            "state": "failed",
            "phase": "done",
            "finished": self._doors.clock.now(),
            "error_code": "given-up",
            "error_message": "the run was interrupted too often and is given up",
            "error_hint": "what it has made in vSphere is being removed; look for what ends the worker",
        }
        with self._doors.catalog.writing() as session:
            if change_run(session, run.id, token, values):
                count_run(session, session.get_one(RunRow, run.id))

    # -- end

    def _drain(self, attendant: Attendant, runtime: Runtime) -> None:
        """Finish within the time given, or hand back: whoever takes the rest goes on from its last checkpoint."""
        with self._doors.catalog.writing() as session:
            set_draining(session, self.id)
        left = self._options.drain_seconds
        pause = threading.Event()
        while len(OWNED) and left > 0:
            pause.wait(0.2)
            left -= 0.2
        if len(OWNED):
            with self._doors.catalog.writing() as session:
                admission_lock(session)
                given = hand_back(session, self.id)
                bury(session, self.id)
            _log.warning("handed back %d runs", len(given))
            os._exit(0)  # what this process knows of them is no longer its own to tidy up
        attendant.stop()
        runtime.stop()
        with self._doors.catalog.writing() as session:
            bury(session, self.id)


class _Ticker:
    """Calls ``body`` every so many seconds in a thread; its failures are logged and do not end it."""

    def __init__(self, name: str, every_seconds: float, body: Callable[[], object]) -> None:
        self._name, self._every, self._body = name, every_seconds, body
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; a round that is under way may go on in its thread, which dies with the process."""
        self._stop.set()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self._body()
            except VbmError as error:
                _log.warning("%s: %s", self._name, error.message)
            except Exception:  # noqa: BLE001 - a defect must not end the thread
                _log.exception("%s failed", self._name)
            self._stop.wait(self._every)
