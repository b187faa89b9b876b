"""What needs somebody: each thing with what it is, why, and the one place where it is put right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from vbm.services.condition import Check
from vbm.services.overview import Dashboard
from vbm.units import format_duration, format_size

_MOST: Final = 8


@dataclass(frozen=True, slots=True)
class Item:
    """``href`` leads to it. ``retry``: (job id, instance UUID) of a backup that can be asked for again."""

    level: Literal["danger", "warning"]
    mark: str
    title: str
    text: str
    href: str
    label: str
    retry: tuple[str, str] | None = None


def items(found: Dashboard, checks: Sequence[Check], now: datetime) -> list[Item]:
    """The gravest first; at most eight of a kind."""
    return [
        *_installation(checks),
        *_snapshots(found, now),
        *_failures(found),
        *_vcenters(found),
        *_stores(found),
        *_unprotected(found),
    ]


def _installation(checks: Sequence[Check]) -> list[Item]:
    return [
        Item(
            "danger", "alert-circle", check.said, check.hint[:1].upper() + check.hint[1:], "/settings", "Look"
        )
        for check in checks
        if not check.well
    ]


def _snapshots(found: Dashboard, now: datetime) -> list[Item]:
    return [
        Item(
            "danger",
            "camera",
            f"A snapshot of {left.vm_name} has been left for {format_duration((now - left.created).total_seconds())}",
            left.last_error or "It is tried again by itself until it is gone.",
            f"/runs/{left.run_id}",
            "Why",
        )
        for left in found.snapshots[:_MOST]
    ]


_WHAT: Final = {
    "backup": "The backup",
    "restore": "The restore",
    "verify": "The verification",
    "check": "The check",
    "gc": "The garbage collection",
}


def _failures(found: Dashboard) -> list[Item]:
    shown = [
        Item(
            "danger",
            "circle-x",
            f"{_WHAT[run.kind]} of {run.vm_name} failed",
            run.error_message,
            f"/runs/{run.id}",
            "What to do",
            (run.job_id, run.vm_uuid) if run.kind == "backup" and run.job_id else None,
        )
        for run in found.failed[:_MOST]
    ]
    more = len(found.failed) - _MOST
    if more > 0:
        shown.append(
            Item("danger", "circle-x", f"{more:,} more failed", "", "/runs?state=failed", "See them")
        )
    return shown


def _vcenters(found: Dashboard) -> list[Item]:
    return [
        Item("danger", "cloud", f"The vCenter {name} does not answer", why, "/vcenters", "Look")
        for name, why in found.unreachable
    ]


def _stores(found: Dashboard) -> list[Item]:
    shown = []
    for space in found.spaces:
        where = f"/repositories/{space.id}"
        if space.problem:
            said = f"The repository {space.name} can't be reached"
            shown.append(Item("danger", "database", said, space.problem, where, "Look"))
        elif space.is_nearly_full:
            said = f"The repository {space.name} is {space.used_percent} % full"
            free = f"{format_size(space.free_bytes)} are free"
            shown.append(Item("warning", "database", said, free, where, "Free space"))
    return shown


def _unprotected(found: Dashboard) -> list[Item]:
    count = found.machines - found.protected
    if not count:
        return []
    names = ", ".join(machine.vm.name for machine in found.unprotected[:3])
    said = f"{count:,} VMs have no restore point" if count > 1 else f"{names} has no restore point"
    text = f"{names} and {count - 3:,} more" if count > 3 else (names if count > 1 else "")
    return [Item("warning", "shield-off", said, text, "/vms?show=unprotected", "See which")]
