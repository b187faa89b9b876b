"""How the repositories grow: bytes a day, per VM, and when they are full at this pace."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from typing import Any

from vbm.catalog.restore_points import PointFilter
from vbm.services import overview, points
from vbm.services.workspace import Workspace


def document(workspace: Workspace, days: int) -> dict[str, Any]:
    """Of the last ``days`` days, as far as who asks may see."""
    now = workspace.clock.now()
    found = points.listing(workspace, PointFilter(since=now - timedelta(days=days)))
    by_day: dict[date, list[int]] = defaultdict(lambda: [0, 0])
    by_vm: dict[str, list[Any]] = {}
    for point in found:
        day = by_day[point.started.date()]
        day[0], day[1] = day[0] + point.new_bytes, day[1] + 1
        vm = by_vm.setdefault(point.vm_uuid, [point.vm_name, 0, 0])
        vm[1], vm[2] = vm[1] + point.new_bytes, vm[2] + 1
    spaces = overview.spaces(workspace)
    rate = sum(added for added, _ in by_day.values()) // max(1, len(by_day))
    free = sum(space.free_bytes for space in spaces)
    full = now + timedelta(days=free / rate) if rate and free and free / rate < 3650 else None
    return {
        "repositories": [
            {
                "id": space.id,
                "name": space.name,
                "free_bytes": space.free_bytes,
                "total_bytes": space.total_bytes,
                "used_percent": space.used_percent,
            }
            for space in spaces
        ],
        "growth": [
            {"date": day.isoformat(), "new_bytes": added, "restore_points": count}
            for day, (added, count) in sorted(by_day.items())
        ],
        "vms": [
            {"vm_instance_uuid": uuid, "vm_name": name, "new_bytes": added, "restore_points": count}
            for uuid, (name, added, count) in sorted(by_vm.items(), key=lambda vm: -vm[1][1])
        ],
        "new_bytes_per_day": rate,
        "full_on": full.date().isoformat() if full else None,
    }
