"""From the options of ``vbm job create`` and ``update`` to a job document."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from vbm.errors import InputError
from vbm.units import parse_size


def from_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        document = json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(f"the job document {path} can't be read: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"the job document {path} is not a JSON object")
    return document


def changes(given: dict[str, Any]) -> dict[str, Any]:
    """The part of a job document that the options say."""
    found = {
        "vcenter_id": given["vcenter"],
        "repository_id": given["repository"],
        "selection": _selection(given),
        "schedule": _schedule(given),
        "retention": _retention(given),
        "mode": given["mode"],
        "quiesce": given["quiesce"],
        "limits": _set(
            parallel_vms=given["parallel"],
            bytes_per_second=parse_size(given["limit"]) if given["limit"] else None,
        ),
        "retries": _set(attempts=given["attempts"], wait_seconds=given["retry_wait"]),
        "deadline_seconds": given["deadline"],
        "snapshot_timeout_seconds": given["snapshot_timeout"],
        "verify": given["verify"],
    }
    return {name: value for name, value in found.items() if value not in (None, {})}


def _set(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _selection(given: dict[str, Any]) -> dict[str, Any]:
    chosen = _set(
        vms=given["vm"] or None,
        folders=given["folder"] or None,
        resource_pools=given["resource_pool"] or None,
        tags=given["tag"] or None,
        attributes=given["attribute"] or None,
    )
    exclude = _set(vms=given["exclude"] or None, tags=given["exclude_tag"] or None)
    return chosen | ({"exclude": exclude} if exclude else {})


def _schedule(given: dict[str, Any]) -> dict[str, Any]:
    cron = given["cron"]
    part = _set(timezone=given["timezone"], window=given["window"], window_end=given["window_end"])
    return part | ({"cron": None if cron == "none" else cron} if cron is not None else {})


def _retention(given: dict[str, Any]) -> dict[str, Any]:
    part = _set(keep_last=given["keep_last"], keep_days=given["keep_days"])
    if given["gfs"] is None:
        return part
    try:
        daily, weekly, monthly, yearly = (int(count) for count in given["gfs"].split(","))
    except ValueError as error:
        raise InputError(
            f"--gfs is {given['gfs']!r}", hint="four counts: days, weeks, months, years, such as 7,4,12,2"
        ) from error
    return part | {"gfs": {"daily": daily, "weekly": weekly, "monthly": monthly, "yearly": yearly}}
