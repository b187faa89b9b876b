"""How the repositories grow: bytes a day, per VM, and when they are full at this pace."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from vbm.catalog.point_growth import growth_by_day, growth_by_vm
from vbm.security.roles import Permission
from vbm.services import identity, overview
from vbm.services.workspace import Workspace

_FARTHEST_DAYS: Final = 3650


def document(workspace: Workspace, days: int) -> dict[str, Any]:
    """Of the last ``days`` days, as far as who asks may see."""
    now = workspace.clock.now()
    since, scope = now - timedelta(days=days), identity.require(Permission.SEE).scope
    with workspace.catalog.reading() as session:
        by_day = growth_by_day(session, since, scope)
        by_vm = growth_by_vm(session, since, scope)
    spaces = overview.spaces(workspace)
    span = (now.date() - by_day[0].date).days + 1 if by_day else 1
    rate = sum(day.new_bytes for day in by_day) // span
    free = sum({space.volume: space.free_bytes for space in spaces}.values())
    full = now + timedelta(days=free / rate) if rate and free and free / rate < _FARTHEST_DAYS else None
    return {
        "repositories": [
            {
                "id": space.id,
                "name": space.name,
                "free_bytes": space.free_bytes,
                "total_bytes": space.total_bytes,
                "used_percent": space.used_percent,
                "volume": space.volume,
            }
            for space in spaces
        ],
        "growth": [
            {"date": day.date.isoformat(), "new_bytes": day.new_bytes, "restore_points": day.restore_points}
            for day in by_day
        ],
        "vms": [
            {
                "vm_instance_uuid": vm.vm_uuid,
                "vm_name": vm.vm_name,
                "new_bytes": vm.new_bytes,
                "restore_points": vm.restore_points,
            }
            for vm in by_vm
        ],
        "new_bytes_per_day": rate,
        "full_on": full.date().isoformat() if full else None,
    }
