"""Once a day, after the last run, the embedded catalog goes into each repository: a lost machine is rebuilt from it."""

from __future__ import annotations

import hashlib
import shutil
import socket
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Final

from vbm.catalog.runs import live_runs
from vbm.catalog.workers import take_turn
from vbm.ids import new_id
from vbm.repository.catalog_copies import write_copy
from vbm.repository.repository import Repository
from vbm.workflows.doors import Doors

_DAILY: Final = timedelta(hours=24)
_LATEST: Final = timedelta(hours=36)  # where runs never pause


def copy_is_due(doors: Doors, repository_id: str, worker_id: str) -> bool:
    """Whether this worker is to copy now: a day has passed and nothing runs, or a day and a half has."""
    with doors.catalog.writing() as session:
        every = _LATEST if live_runs(session) else _DAILY
        return take_turn(session, f"copy-{repository_id}", worker_id, doors.clock.now(), every)


def copy_catalog(doors: Doors, repository: Repository) -> int:
    """Store a copy; its size in bytes, 0 where the database is not an embedded one."""
    folder = Path(tempfile.mkdtemp(prefix="catalog-copy-", dir=doors.home))
    try:
        database = folder / "vbm.db"
        if not doors.catalog.copy_to(database):
            return 0
        copy_id = f"{_installation(doors.home)}-{new_id(doors.clock.now())}"
        return write_copy(repository.store, repository.envelope, copy_id, database)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _installation(home: Path) -> str:
    """Eight characters that tell this home on this machine from others on the same repository."""
    return hashlib.sha256(f"{socket.gethostname()}:{home}".encode()).hexdigest()[:8]
