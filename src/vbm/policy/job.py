"""The job document: what a job protects, when, where to and how long; the same on every interface. Pure.

``Job.from_document`` refuses what can't be right with one InputError that names the field; ``to_document`` gives
the document back with every default filled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from vbm.errors import InputError
from vbm.policy.retention import Gfs, Rules
from vbm.policy.schedule import DEFAULT_GRACE_SECONDS, Schedule
from vbm.policy.selection import Selection
from vbm.policy.windows import Window, parse_window

SNAPSHOT_TIMEOUT_SECONDS: Final = 4 * 3600
EVENTS: Final = (
    "success",
    "warning",
    "failure",
    "snapshot_left",
    "snapshot_gone",
    "repository_full",
    "replication_failed",
    "verify_failed",
    "schedule_missed",
    "digest",
)
DEFAULT_EVENTS: Final = tuple(event for event in EVENTS if event != "success")


@dataclass(frozen=True, slots=True)
class Notice:
    """Which events of a job a channel is told besides those that it is told of every job."""

    channel: str
    on: tuple[str, ...] = DEFAULT_EVENTS


@dataclass(frozen=True, slots=True)
class Job:
    """``vcenter`` and ``repository`` are ids or names, as given. 0 means no limit everywhere.

    ``window_text``: hours in which runs may read, such as ``mon,tue 22:00-06:00``; ``window_end`` says what happens
    to one that is still reading when they end. ``deadline_seconds`` counts from the start of a run. ``verify``: what
    is checked of a restore point as soon as it is made; "quick" reads no data back.
    """

    name: str
    vcenter: str
    repository: str
    selection: Selection
    enabled: bool = True
    schedule: Schedule | None = None
    window_text: str = ""
    window_end: Literal["pause", "end"] = "end"
    keep_last: int = 0
    keep_days: int = 0
    gfs: Gfs = Gfs()  # noqa: RUF009 - frozen
    mode: Literal["auto", "full"] = "auto"
    active_full_every: int = 0
    quiesce: bool = False
    excluded_disks: tuple[int, ...] = ()
    parallel_vms: int = 0
    bytes_per_second: int = 0
    attempts: int = 3
    wait_seconds: int = 300
    deadline_seconds: int = 0
    priority: int = 100
    notices: tuple[Notice, ...] = ()
    verify: Literal["none", "quick", "full"] = "none"
    snapshot_timeout_seconds: int = SNAPSHOT_TIMEOUT_SECONDS

    @property
    def timezone(self) -> str:
        return self.schedule.timezone if self.schedule else "UTC"

    @property
    def rules(self) -> Rules:
        """The retention rules, with calendar periods of the schedule's zone."""
        return Rules(self.keep_last, self.keep_days, self.gfs, ZoneInfo(self.timezone))

    @property
    def window(self) -> Window | None:
        return parse_window(self.window_text, self.timezone, self.window_end) if self.window_text else None

    def to_document(self) -> dict[str, Any]:
        """Plain JSON values, every field."""
        schedule = self.schedule
        return {
            "name": self.name,
            "enabled": self.enabled,
            "vcenter_id": self.vcenter,
            "repository_id": self.repository,
            "selection": _selection_document(self.selection),
            "schedule": {
                "cron": schedule.cron if schedule else None,
                "timezone": self.timezone,
                "window": self.window_text or None,
                "window_end": self.window_end,
                "misfire_grace_seconds": schedule.misfire_grace_seconds
                if schedule
                else DEFAULT_GRACE_SECONDS,
            },
            "retention": {
                "keep_last": self.keep_last,
                "keep_days": self.keep_days,
                "gfs": {period: getattr(self.gfs, period) for period in _PERIODS},
            },
            "mode": self.mode,
            "active_full_every": self.active_full_every,
            "quiesce": self.quiesce,
            "excluded_disks": list(self.excluded_disks),
            "limits": {"parallel_vms": self.parallel_vms, "bytes_per_second": self.bytes_per_second},
            "retries": {"attempts": self.attempts, "wait_seconds": self.wait_seconds},
            "deadline_seconds": self.deadline_seconds,
            "priority": self.priority,
            "verify": self.verify,
            "notifications": [{"channel_id": n.channel, "on": list(n.on)} for n in self.notices],
            "snapshot_timeout_seconds": self.snapshot_timeout_seconds,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Job:
        """Raises InputError for an unknown field, a wrong type and a value that no job can have."""
        _known(document, FIELDS, "job")
        schedule = _part(document, "schedule", _SCHEDULE)
        retention = _part(document, "retention", ("keep_last", "keep_days", "gfs"))
        gfs = _part(retention, "gfs", _PERIODS)
        limits = _part(document, "limits", ("parallel_vms", "bytes_per_second"))
        retries = _part(document, "retries", ("attempts", "wait_seconds"))
        zone = _text(schedule, "timezone", "UTC")
        cron = schedule.get("cron")
        if not cron:
            Schedule("0 0 * * *", zone)  # the zone counts for the window and for retention too
        job = cls(
            name=_text(document, "name"),
            vcenter=_text(document, "vcenter_id"),
            repository=_text(document, "repository_id"),
            selection=_selection(document.get("selection") or {}),
            enabled=_flag(document, "enabled", default=True),
            schedule=Schedule(
                str(cron), zone, _count(schedule, "misfire_grace_seconds", DEFAULT_GRACE_SECONDS)
            )
            if cron
            else None,
            window_text=_text(schedule, "window", ""),
            window_end="pause" if _one_of(schedule, "window_end", ("end", "pause")) == "pause" else "end",
            keep_last=_count(retention, "keep_last"),
            keep_days=_count(retention, "keep_days"),
            gfs=Gfs(**{period: _count(gfs, period) for period in _PERIODS}),
            mode="full" if _one_of(document, "mode", ("auto", "full")) == "full" else "auto",
            active_full_every=_count(document, "active_full_every"),
            quiesce=_flag(document, "quiesce"),
            excluded_disks=tuple(_integers(document, "excluded_disks")),
            parallel_vms=_count(limits, "parallel_vms"),
            bytes_per_second=_count(limits, "bytes_per_second"),
            attempts=_count(retries, "attempts", 3, least=1),
            wait_seconds=_count(retries, "wait_seconds", 300),
            deadline_seconds=_count(document, "deadline_seconds"),
            priority=_count(document, "priority", 100),
            verify=_verify(document),
            notices=tuple(_notices(document.get("notifications") or ())),
            snapshot_timeout_seconds=_count(
                document, "snapshot_timeout_seconds", SNAPSHOT_TIMEOUT_SECONDS, least=1
            ),
        )
        _ = job.window  # refuses a wrong one
        if job.selection.is_empty:
            raise InputError(
                f"the job {job.name!r} selects no VM", hint="name VMs, folders, tags or resource pools"
            )
        return job

    def placed(self, vcenter: str, repository: str) -> Job:
        """The same job with ids instead of names."""
        return replace(self, vcenter=vcenter, repository=repository)


_PERIODS: Final = ("daily", "weekly", "monthly", "yearly")
_SCHEDULE: Final = ("cron", "timezone", "window", "window_end", "misfire_grace_seconds")
_SELECTORS: Final = ("vms", "folders", "tags", "resource_pools", "attributes")
FIELDS: Final = (
    "name",
    "enabled",
    "vcenter_id",
    "repository_id",
    "selection",
    "schedule",
    "retention",
    "mode",
    "active_full_every",
    "quiesce",
    "excluded_disks",
    "limits",
    "retries",
    "deadline_seconds",
    "priority",
    "verify",
    "notifications",
    "snapshot_timeout_seconds",
)


def _selection_document(selection: Selection) -> dict[str, Any]:
    document: dict[str, Any] = {name: list(getattr(selection, name)) for name in _SELECTORS}
    document["exclude"] = (
        {name: list(getattr(selection.exclude, name)) for name in _SELECTORS} if selection.exclude else {}
    )
    return document


def _selection(document: Mapping[str, Any], *, inner: bool = False) -> Selection:
    _known(document, _SELECTORS if inner else (*_SELECTORS, "exclude"), "selection")
    exclude = document.get("exclude") or {}
    if isinstance(exclude, Sequence) and not inner:
        exclude = {"vms": exclude}
    parts = {name: _texts(document, name) for name in _SELECTORS}
    return Selection(**parts, exclude=_selection(exclude, inner=True) if exclude and not inner else None)


def _verify(document: Mapping[str, Any]) -> Literal["none", "quick", "full"]:
    match _one_of(document, "verify", ("none", "quick", "full")):
        case "quick":
            return "quick"
        case "full":
            return "full"
        case _:
            return "none"


def _notices(given: Any) -> list[Notice]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise InputError("notifications is a list of {channel_id, on}")
    found = []
    for entry in given:
        _known(entry, ("channel_id", "on"), "notifications")
        on = _texts(entry, "on") or DEFAULT_EVENTS
        unknown = [event for event in on if event not in EVENTS]
        if unknown:
            raise InputError(
                f"notifications: no such event {unknown[0]!r}", hint=f"use some of {', '.join(EVENTS)}"
            )
        found.append(Notice(_text(entry, "channel_id"), on))
    return found


def _known(document: Any, names: Sequence[str], what: str) -> None:
    if not isinstance(document, Mapping):
        raise InputError(f"{what} is not an object with fields")
    unknown = [name for name in document if name not in names]
    if unknown:
        raise InputError(f"{what} has no field {unknown[0]!r}", hint=f"it has {', '.join(names)}")


def _part(document: Mapping[str, Any], name: str, names: Sequence[str]) -> Mapping[str, Any]:
    part = document.get(name) or {}
    _known(part, names, name)
    return part if isinstance(part, Mapping) else {}


def _text(document: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = document.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or (default is None and not value.strip()):
        raise InputError(f"{name} is {'missing' if value is None else 'no text'}")
    return value


def _texts(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = document.get(name) or ()
    if (
        isinstance(value, str)
        or not isinstance(value, Sequence)
        or not all(isinstance(v, str) for v in value)
    ):
        raise InputError(f"{name} is a list of texts")
    return tuple(value)


def _integers(document: Mapping[str, Any], name: str) -> list[int]:
    value = document.get(name) or ()
    if not isinstance(value, Sequence) or not all(isinstance(v, int) for v in value):
        raise InputError(f"{name} is a list of disk keys, such as 2000")
    return list(value)


def _count(document: Mapping[str, Any], name: str, default: int = 0, *, least: int = 0) -> int:
    value = document.get(name, default)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} is {value!r}", hint=f"use a whole number from {least} on")
    return value


def _flag(document: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    value = document.get(name, default)
    if not isinstance(value, bool):
        raise InputError(f"{name} is {value!r}", hint="use true or false")
    return value


def _one_of(document: Mapping[str, Any], name: str, values: Sequence[str]) -> str:
    value = document.get(name) or values[0]
    if value not in values:
        raise InputError(f"{name} is {value!r}", hint=f"use {' or '.join(values)}")
    return str(value)
