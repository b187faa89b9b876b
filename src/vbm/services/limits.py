"""Settings that people change while the product runs: how many runs at once, how long to keep them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Final

from vbm.catalog.preferences import Preferences, preferences, set_preference
from vbm.security.roles import Permission
from vbm.services import identity, trail
from vbm.services.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Setting:
    """One of them as a form shows it."""

    name: str
    title: str
    hint: str
    value: int
    default: int


_WORDS: Final = {
    "max_runs": ("Runs at once", "Of all jobs together; 0 means no limit."),
    "max_runs_per_vcenter": ("On one vCenter", "0 means no limit."),
    "max_runs_per_datastore": ("On one datastore", "0 means no limit."),
    "max_runs_per_repository": ("Into one repository", "0 means no limit."),
    "guard_every_seconds": ("Look for snapshots left behind", "Every so many seconds."),
    "keep_runs_days": ("Keep runs and their logs", "For so many days."),
    "gc_every_hours": (
        "Free space in repositories",
        "Garbage collection every so many hours; 0 means never.",
    ),
}


def listing(workspace: Workspace) -> list[Setting]:
    """Every setting, as it is in force."""
    identity.require(Permission.SEE)
    with workspace.catalog.reading() as session:
        current = asdict(preferences(session))
    default = asdict(Preferences())
    return [
        Setting(f.name, *_WORDS[f.name], value=current[f.name], default=default[f.name])
        for f in fields(Preferences)
    ]


def change(workspace: Workspace, values: Mapping[str, int]) -> dict[str, int]:
    """Set those that differ; answers them. Raises InputError for a name that is none, or a negative value."""
    identity.require(Permission.MANAGE, "change settings")
    with workspace.catalog.writing() as session:
        current = asdict(preferences(session))
        changed = {name: value for name, value in values.items() if current.get(name) != value}
        for name, value in changed.items():
            set_preference(session, name, value)
        if changed:
            trail.note(workspace, session, "settings.change", "limits", dict(changed))
    return changed
