"""Whether this installation itself is well: its workers, its database, the space in its home."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import vbm
from vbm.catalog.workers import WorkerRecord, all_workers, database_time
from vbm.security.roles import Permission
from vbm.services import identity
from vbm.services.workspace import Workspace

_SILENT_SECONDS: Final = 60.0
_LITTLE_BYTES: Final = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class WorkerState:
    """``silent_seconds``: since its last heartbeat."""

    worker: WorkerRecord
    silent_seconds: float

    @property
    def state(self) -> str:
        if self.worker.dead or self.silent_seconds > _SILENT_SECONDS:
            return "gone"
        return "stopping" if self.worker.draining else "working"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, in words."""

    name: str
    well: bool
    said: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """``facts``: (what, value), for a report of a problem."""

    checks: tuple[Check, ...]
    workers: tuple[WorkerState, ...]
    facts: tuple[tuple[str, str], ...]


def condition(workspace: Workspace, more: Sequence[Check] = ()) -> Condition:
    """``more``: what else was looked at."""
    identity.require(Permission.SEE)
    with workspace.catalog.reading() as session:
        now = database_time(session)
        found = tuple(WorkerState(w, max(0.0, now - w.heartbeat)) for w in all_workers(session))
    kind = "SQLite" if workspace.settings.database_url.startswith("sqlite") else "PostgreSQL"
    home = workspace.settings.home
    space = shutil.disk_usage(home) if home.exists() else None
    checks = [_workers(found), Check("Database", well=True, said=f"{kind} answers.")]
    if space is not None:
        checks.append(_space(space.free))
    facts = (
        ("Version", vbm.__version__),
        ("Python", platform.python_version()),
        ("System", platform.platform(terse=True)),
        ("Database", kind),
        ("Home", str(home)),
    )
    return Condition((*checks, *more), found, facts)


def _workers(found: tuple[WorkerState, ...]) -> Check:
    working = sum(1 for one in found if one.state == "working")
    if working:
        return Check("Workers", well=True, said=f"{working} at work.")
    return Check(
        "Workers",
        well=False,
        said="No worker is at work: no job runs, no snapshot is cleaned up.",
        hint="start one: vbm worker, or vbm serve without --no-worker",
    )


def _space(free_bytes: int) -> Check:
    gibibytes = free_bytes / 1024**3
    if free_bytes >= _LITTLE_BYTES:
        return Check("Space for the catalog", well=True, said=f"{gibibytes:,.0f} GiB are free.")
    return Check(
        "Space for the catalog",
        well=False,
        said=f"Only {gibibytes:.1f} GiB are free in the home.",
        hint="make room: without it no run can be recorded",
    )
