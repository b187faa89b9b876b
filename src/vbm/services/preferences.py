"""Settings that hold for all jobs together: limits, intervals, the time of the daily report."""

from __future__ import annotations

from dataclasses import asdict

from vbm.catalog.preferences import DIGEST_AT, digest_time, preferences, set_digest_time, set_preference
from vbm.errors import InputError
from vbm.services import trail
from vbm.services.workspace import Workspace

MEANINGS = {
    "max_runs": "Runs at once, of all jobs together; 0: no limit.",
    "max_runs_per_vcenter": "Runs at once on one vCenter; 0: no limit.",
    "max_runs_per_datastore": "Runs at once on one datastore; 0: no limit.",
    "max_runs_per_repository": "Runs at once into one repository; 0: no limit.",
    "guard_every_seconds": "Look for snapshots left behind every so often.",
    "keep_runs_days": "Runs and their logs are kept for so long.",
    "gc_every_hours": "Garbage collection every so often; 0: never.",
    DIGEST_AT: "When the daily report is sent, HH:MM in UTC; off: never.",
}


def listing(workspace: Workspace) -> dict[str, int | str]:
    """Every setting as it is in force."""
    with workspace.catalog.reading() as session:
        return asdict(preferences(session)) | {DIGEST_AT: digest_time(session) or "off"}


def change(workspace: Workspace, name: str, value: str) -> dict[str, int | str]:
    """Set one; all of them afterwards. Workers heed it at once. Raises InputError."""
    with workspace.catalog.writing() as session:
        if name == DIGEST_AT:
            set_digest_time(session, "" if value == "off" else value, workspace.clock.now())
        else:
            set_preference(session, name, _count(name, value))
        trail.note(workspace, session, "settings.change", name, {"value": value})
    return listing(workspace)


def _count(name: str, value: str) -> int:
    if name not in MEANINGS:
        raise InputError(f"there is no setting {name!r}", hint=f"there are {', '.join(MEANINGS)}")
    if not value.isdecimal():
        raise InputError(f"{name} is {value!r}", hint="use a whole number from 0 on")
    return int(value)
