"""Workers that have fallen silent are declared dead, and their runs wait for the living."""

from __future__ import annotations

import logging

from vbm.catalog.runs import hand_back
from vbm.catalog.workers import admission_lock, all_workers, bury, dead_workers, silent_workers
from vbm.workflows.doors import Doors

_log = logging.getLogger(__name__)


def reap(doors: Doors, ttl_seconds: float) -> list[str]:
    """Bury silent workers; the runs handed back. Those of the dead are looked for each time anew."""
    with doors.catalog.writing() as session:
        admission_lock(session)
        for worker in silent_workers(session, ttl_seconds):
            _log.warning(
                "worker %s (%s) has fallen silent; its runs are given to others", worker.name, worker.id
            )
            bury(session, worker.id)
        return [run for worker_id in dead_workers(session) for run in hand_back(session, worker_id)]


def reap_all_but(doors: Doors, worker_id: str) -> list[str]:
    """For the one worker of an embedded database: whoever was there before is dead."""
    with doors.catalog.writing() as session:
        for worker in all_workers(session):
            if worker.id != worker_id and not worker.dead:
                bury(session, worker.id)
        return [run for dead in dead_workers(session) for run in hand_back(session, dead)]
