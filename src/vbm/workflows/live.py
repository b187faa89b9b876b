"""The runs that this process owns: each with its token, its progress, its session and its open repository."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from vbm.cancel import CancelToken
from vbm.catalog.runs import RunRecord, find_run
from vbm.engine.run_context import RunContext
from vbm.engine.vm_lock import vm_lock
from vbm.errors import VbmError
from vbm.ids import VmUuid
from vbm.repository.repository import Repository
from vbm.vsphere.session import Session
from vbm.workflows.doors import Doors
from vbm.workflows.ledger import CatalogLedger
from vbm.workflows.stop import RunToken
from vbm.workflows.tell import RowProgress

_log = logging.getLogger(__name__)
_BEGINS_WITHIN = 60.0
FENCED_EXIT = 75  # the process was thought dead and its runs were given to others


class LiveRun:
    """One run while this process owns it. Steps of a run follow each other; other threads use the token only."""

    def __init__(self, doors: Doors, run: RunRecord, token: int) -> None:
        self.doors, self.run, self.token = doors, run, token
        self.taken = doors.clock.monotonic()
        self.stop = RunToken()
        self.progress = RowProgress(doors.catalog, doors.clock, run.id, token)
        self._session: Session | None = None
        self._repository: Repository | None = None
        self._locks = ExitStack()
        self._locked = False

    def check_owner(self) -> None:
        """Return only while this process owns the run; a process that was fenced off ends at once."""
        with self.doors.catalog.reading() as session:
            row = find_run(session, self.run.id)
        if row is not None and row.token != self.token:
            os._exit(FENCED_EXIT)

    def context(self, *, stoppable: bool = True) -> RunContext:
        """What the engine works with. ``stoppable`` False for what must be done even in a cancelled run."""
        ledger = CatalogLedger(self.doors.home, self.doors.catalog, self.doors.clock, self.run)
        context = RunContext.of(self.doors.home, clock=self.doors.clock, progress=self.progress)
        return replace(context, ledger=ledger, cancel=self.stop if stoppable else CancelToken())

    def session(self) -> Session:
        if self._session is None:
            self._session = self.doors.connect(self.run.vcenter_id)
        return self._session

    def drop_session(self) -> None:
        """The next step logs in anew."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(VbmError, OSError):
                session.close()

    def repository(self) -> Repository:
        if self._repository is None:
            self._repository = self.doors.open_repository(self.run.repository_id)
        return self._repository

    def lock_vm(self) -> None:
        """No backup by hand in this home touches the VM until the run ends. Raises VmInUseError."""
        if not self._locked:
            lock = vm_lock(self.doors.home, VmUuid(self.run.vm_uuid), self.run.vm_name)
            self._locks.enter_context(lock)
            self._locked = True

    def close(self) -> None:
        self.drop_session()
        if self._repository is not None:
            with suppress(VbmError, OSError):
                self._repository.close()
        self._locks.close()


class LiveRuns:
    """All of this process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, LiveRun] = {}
        self._fallen: set[str] = set()
        self._begun: set[str] = set()

    def add(self, live: LiveRun) -> None:
        with self._lock:
            self._runs[live.run.id] = live
            self._fallen.discard(live.run.id)  # of when it was here before
            self._begun.discard(live.run.id)

    def get(self, run_id: str) -> LiveRun:
        with self._lock:
            return self._runs[run_id]

    def ids(self) -> set[str]:
        with self._lock:
            return set(self._runs)

    def all(self) -> list[LiveRun]:
        with self._lock:
            return list(self._runs.values())

    @contextmanager
    def watched(self, run_id: str) -> Iterator[None]:
        """Around a run's workflow: where its journal can't be written, the run has *fallen* and is taken again."""
        with self._lock:
            self._begun.add(run_id)
        try:
            yield
        except Exception as error:
            _log.warning("run %s is interrupted: %s", run_id, getattr(error, "orig", None) or error)
            with self._lock:
                self._fallen.add(run_id)
            raise

    def fallen(self) -> list[LiveRun]:
        """Runs of this process that nobody executes any more, or nobody has begun to in a minute."""
        with self._lock:
            return [
                live for run_id, live in self._runs.items() if run_id in self._fallen or self._waits(live)
            ]

    def _waits(self, live: LiveRun) -> bool:
        waited_seconds = live.doors.clock.monotonic() - live.taken
        return live.run.id not in self._begun and waited_seconds > _BEGINS_WITHIN

    def end(self, run_id: str) -> None:
        with self._lock:
            live = self._runs.pop(run_id, None)
            self._fallen.discard(run_id)
            self._begun.discard(run_id)
        if live is not None:
            with suppress(VbmError):
                live.progress.flush()
            live.close()

    def __len__(self) -> int:
        with self._lock:
            return len(self._runs)


OWNED = LiveRuns()
