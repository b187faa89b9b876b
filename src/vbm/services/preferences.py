"""Settings that hold for all jobs together: limits, intervals, the time of the daily report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from vbm.catalog.base import Transaction
from vbm.catalog.preferences import (
    DIGEST_AT,
    Preferences,
    digest_time,
    preferences,
    set_digest_time,
    set_preference,
)
from vbm.errors import InputError
from vbm.security.roles import Permission
from vbm.services import identity, trail
from vbm.services.workspace import Workspace

Value = int | str
_OFF: Final = "off"
_MOST_DIGITS: Final = 9
_WORDS: Final = {
    "max_runs": ("Runs at once", "Of all jobs together; 0 means no limit."),
    "max_runs_per_vcenter": ("On one vCenter", "Runs at once; 0 means no limit."),
    "max_runs_per_datastore": ("On one datastore", "Runs at once; 0 means no limit."),
    "max_runs_per_repository": ("Into one repository", "Runs at once; 0 means no limit."),
    "guard_every_seconds": ("Look for snapshots left behind", "Every so many seconds."),
    "keep_runs_days": ("Keep runs and their logs", "For so many days."),
    "gc_every_hours": ("Free space in repositories", "Every so many hours; 0 means never."),
    DIGEST_AT: ("Send the daily report", "At HH:MM in UTC; off means never."),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One of them, in words too."""

    name: str
    title: str
    hint: str
    value: Value
    default: Value


def listing(workspace: Workspace) -> list[Setting]:
    """Every setting, as it is in force."""
    identity.require(Permission.SEE)
    with workspace.catalog.reading() as session:
        current = _current(session)
    default: dict[str, Value] = asdict(Preferences()) | {DIGEST_AT: _OFF}
    return [Setting(name, *words, current[name], default[name]) for name, words in _WORDS.items()]


def change(workspace: Workspace, given: Mapping[str, str]) -> dict[str, Value]:
    """Set those that differ, all or none; answers them. Workers heed them at once. Raises InputError."""
    identity.require_everywhere("change settings")
    wanted = {name: _value(name, text) for name, text in given.items()}
    with workspace.catalog.writing() as session:
        current = _current(session)
        changed = {name: value for name, value in wanted.items() if current[name] != value}
        for name, value in changed.items():
            if isinstance(value, int):
                set_preference(session, name, value)
            else:
                set_digest_time(session, "" if value == _OFF else value, workspace.clock.now())
        if changed:
            trail.note(workspace, session, "settings.change", ", ".join(changed), dict(changed))
    return changed


def _current(session: Transaction) -> dict[str, Value]:
    return asdict(preferences(session)) | {DIGEST_AT: digest_time(session) or _OFF}


def _value(name: str, text: str) -> Value:
    if name not in _WORDS:
        raise InputError(f"there is no setting {name!r}", hint=f"there are {', '.join(_WORDS)}")
    if name == DIGEST_AT:
        return text
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise InputError(f"{name} is {text!r}", hint="use a whole number from 0 on")
    return int(text)
