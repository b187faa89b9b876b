"""The form of a job and the job document, turned into each other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from vbm.errors import InputError
from vbm.policy.job import DEFAULT_EVENTS, EVENTS, SNAPSHOT_TIMEOUT_SECONDS
from vbm.units import MIB

Values = dict[str, Any]
_LISTS: Final = ("vms", "folders", "tags", "resource_pools", "attributes")
_PERIODS: Final = ("daily", "weekly", "monthly", "yearly")
OFTEN: Final = (
    ("day", "Every day"),
    ("weekdays", "Monday to Friday"),
    ("week", "Once a week"),
    ("hour", "Every hour"),
    ("cron", "By a cron expression"),
    ("none", "Only when asked"),
)
WEEKDAYS: Final = (
    ("1", "Monday"),
    ("2", "Tuesday"),
    ("3", "Wednesday"),
    ("4", "Thursday"),
    ("5", "Friday"),
    ("6", "Saturday"),
    ("0", "Sunday"),
)
FRESH: Final[Values] = {
    "often": "day",
    "time": "03:00",
    "weekday": "6",
    "timezone": "UTC",
    "keep_days": "14",
    "enabled": "yes",
    "mode": "auto",
    "verify": "none",
    "attempts": "3",
    "wait_minutes": "5",
    "snapshot_timeout_hours": "4",
    "priority": "100",
    "window_end": "end",
    "channels": (),
    "on": DEFAULT_EVENTS,
}


def lines(text: str) -> list[str]:
    """One entry a line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def document(fields: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The job document of a form. Raises InputError that names the field; the rest is the job's own to check."""
    given = {name: value.strip() for name, value in fields}
    channels = [value for name, value in fields if name == "channels"]
    events = [value for name, value in fields if name == "on" and value in EVENTS]
    exclude = {name: lines(given.get(f"exclude_{name}", "")) for name in _LISTS}
    return {
        "name": given.get("name") or None,
        "vcenter_id": given.get("vcenter_id") or None,
        "repository_id": given.get("repository_id") or None,
        "enabled": given.get("enabled") == "yes",
        "selection": {
            **{name: lines(given.get(name, "")) for name in _LISTS},
            "exclude": exclude if any(exclude.values()) else {},
        },
        "schedule": {
            "cron": _cron(given) or None,
            "timezone": given.get("timezone") or "UTC",
            "window": given.get("window") or None,
            "window_end": given.get("window_end") or "end",
        },
        "retention": {
            "keep_last": _count(given, "keep_last", "the last"),
            "keep_days": _count(given, "keep_days", "days"),
            "gfs": {period: _count(given, period, period) for period in _PERIODS},
        },
        "mode": given.get("mode") or "auto",
        "verify": given.get("verify") or "none",
        "active_full_every": _count(given, "active_full_every", "full read every"),
        "quiesce": given.get("quiesce") == "yes",
        "excluded_disks": _disks(given.get("excluded_disks", "")),
        "limits": {
            "parallel_vms": _count(given, "parallel_vms", "VMs at once"),
            "bytes_per_second": _count(given, "mib_per_second", "MiB a second") * MIB,
        },
        "retries": {
            "attempts": _count(given, "attempts", "attempts") or 1,
            "wait_seconds": _count(given, "wait_minutes", "minutes between attempts") * 60,
        },
        "deadline_seconds": _count(given, "deadline_hours", "hours at most") * 3600,
        "priority": _count(given, "priority", "priority"),
        "notifications": [{"channel_id": channel, "on": events} for channel in channels] if events else [],
        "snapshot_timeout_seconds": _count(given, "snapshot_timeout_hours", "hours of a snapshot") * 3600
        or SNAPSHOT_TIMEOUT_SECONDS,
    }


def _count(given: Mapping[str, str], name: str, words: str) -> int:
    text = given.get(name, "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InputError(f"{words}: {text!r} is not a whole number", hint="leave it empty for no such rule")
    return int(text or 0)


def _disks(text: str) -> list[int]:
    parts = [part for part in re.split(r"[\s,]+", text) if part]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise InputError("excluded disks are keys such as 2000, 2001", hint="the VM's page lists them")
    return [int(part) for part in parts]


def _cron(given: Mapping[str, str]) -> str:
    often = given.get("often", "none")
    if often == "none":
        return ""
    if often == "cron":
        if not given.get("cron"):
            raise InputError("the cron expression is empty", hint="five fields, such as 0 3 * * *")
        return given["cron"]
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", given.get("time", ""))
    if found is None:
        raise InputError(f"{given.get('time', '')!r} is not a time of day", hint="write it like 03:00")
    hour, minute = int(found[1]), int(found[2])
    weekday = given.get("weekday", "6")
    days = {"weekdays": "1-5", "week": weekday if weekday in dict(WEEKDAYS) else "6"}.get(often, "*")
    return f"{minute} {'*' if often == 'hour' else hour} * * {days}"


def typed(fields: Sequence[tuple[str, str]]) -> Values:
    """What was typed, for the form shown again."""
    values: Values = dict(fields)
    values["channels"] = tuple(value for name, value in fields if name == "channels")
    values["on"] = tuple(value for name, value in fields if name == "on")
    return values


def values(document: Mapping[str, Any]) -> Values:
    """A job's document as the form's fields."""
    schedule, retention, limits = document["schedule"], document["retention"], document["limits"]
    selection, notices = document["selection"], document["notifications"]
    exclude = selection.get("exclude") or {}
    return {
        "name": document["name"],
        "vcenter_id": document["vcenter_id"],
        "repository_id": document["repository_id"],
        "enabled": "yes" if document["enabled"] else "",
        **{name: "\n".join(selection.get(name) or ()) for name in _LISTS},
        **{f"exclude_{name}": "\n".join(exclude.get(name) or ()) for name in _LISTS},
        **_when(schedule["cron"] or ""),
        "timezone": schedule["timezone"],
        "window": schedule["window"] or "",
        "window_end": schedule["window_end"],
        "keep_last": retention["keep_last"] or "",
        "keep_days": retention["keep_days"] or "",
        **{period: retention["gfs"][period] or "" for period in _PERIODS},
        "mode": document["mode"],
        "verify": document.get("verify", "none"),
        "active_full_every": document["active_full_every"] or "",
        "quiesce": "yes" if document["quiesce"] else "",
        "excluded_disks": ", ".join(map(str, document["excluded_disks"])),
        "parallel_vms": limits["parallel_vms"] or "",
        "mib_per_second": limits["bytes_per_second"] // MIB or "",
        "attempts": document["retries"]["attempts"],
        "wait_minutes": document["retries"]["wait_seconds"] // 60,
        "deadline_hours": document["deadline_seconds"] // 3600 or "",
        "priority": document["priority"],
        "snapshot_timeout_hours": max(1, document["snapshot_timeout_seconds"] // 3600),
        "channels": tuple(notice["channel_id"] for notice in notices),
        "on": tuple(notices[0]["on"]) if notices else DEFAULT_EVENTS,
    }


def _when(cron: str) -> Values:
    """The simple form of an expression, or the expression itself."""
    if not cron:
        return {"often": "none", "time": "03:00", "weekday": "6", "cron": ""}
    found = re.fullmatch(r"(\d{1,2}) (\d{1,2}|\*) \* \* (\*|1-5|[0-6])", cron)
    if found is None:
        return {"often": "cron", "time": "03:00", "weekday": "6", "cron": cron}
    minute, hour, days = int(found[1]), found[2], found[3]
    if hour == "*" and days == "*":
        return {"often": "hour", "time": f"00:{minute:02d}", "weekday": "6", "cron": cron}
    if hour == "*":
        return {"often": "cron", "time": "03:00", "weekday": "6", "cron": cron}
    often = {"*": "day", "1-5": "weekdays"}.get(days, "week")
    weekday = days if often == "week" else "6"
    return {"often": often, "time": f"{int(hour):02d}:{minute:02d}", "weekday": weekday, "cron": cron}


def unfit(document: Mapping[str, Any]) -> bool:
    """Whether the form can't show all of the job: rules of another interface would be lost with it."""
    notices = document["notifications"]
    speed = document["limits"]["bytes_per_second"] % MIB
    odd = document["deadline_seconds"] % 3600 or document["snapshot_timeout_seconds"] % 3600
    several = len({tuple(notice["on"]) for notice in notices}) > 1
    return bool(speed or odd or document["retries"]["wait_seconds"] % 60 or several)
