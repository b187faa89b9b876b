"""``/storage``: used and free space with a forecast, growth a day, what each VM added."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from vbm.security.roles import Permission
from vbm.services import growth
from vbm.services.forecast import Forecast, forecast
from vbm.services.overview import FULL_PERCENT, spaces
from vbm.units import format_size
from vbm.web.access import needs
from vbm.web.pages.show import page
from vbm.web.state import Space

router = APIRouter(prefix="/storage")
_BARS: Final = 12
_SPANS: Final = (7, 30, 90)


@router.get("", dependencies=[needs(Permission.SEE)])
def show_storage(request: Request, space: Space, days: Annotated[int, Query(ge=1, le=400)] = 30) -> Response:
    """Each chart is a table too."""
    today = space.clock.now().date()
    found = growth.document(space, days)
    ahead = forecast(found, today, days)
    bars = _bars(found["vms"])
    per_day = _per_day(found["growth"], today, days)
    return page(
        request,
        "storage/storage.html",
        said=_said(ahead, found["new_bytes_per_day"], today),
        spaces=spaces(space),
        found=found,
        ahead=ahead,
        alarm_percent=FULL_PERCENT,
        bars=bars,
        per_day=per_day,
        days=days,
        spans=_SPANS,
        charts=json.dumps(_charts(ahead, per_day, bars)),
        now=space.clock.now(),
    )


def _said(ahead: Forecast, rate: int, today: date) -> str:
    """Is there room, and until when."""
    if not ahead.total_bytes:
        return "No repository tells how large its store is."
    said = f"{format_size(ahead.used_bytes)} of {format_size(ahead.total_bytes)} are used ({ahead.used_percent} %)"
    pace = f"it grows by {format_size(rate)} a day" if rate else "it does not grow"
    if ahead.alarm_on is None:
        return f"{said}; {pace}."
    if ahead.alarm_on <= today:
        return f"{said}, past the {FULL_PERCENT} % line; {pace}."
    return f"{said}; {pace} and reaches {FULL_PERCENT} % in {(ahead.alarm_on - today).days} days."


def _bars(vms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that added the most; the others as one."""
    if len(vms) <= _BARS:
        return vms
    rest = vms[_BARS:]
    others = {
        "vm_name": f"{len(rest):,} others",
        "vm_instance_uuid": "",
        "new_bytes": sum(vm["new_bytes"] for vm in rest),
        "restore_points": sum(vm["restore_points"] for vm in rest),
    }
    return [*vms[:_BARS], others]


def _per_day(grown: list[dict[str, Any]], today: date, days: int) -> list[dict[str, Any]]:
    """Every day, those on which nothing was added too."""
    known = {day["date"]: day for day in grown}
    span = [(today - timedelta(days=back)).isoformat() for back in range(days - 1, -1, -1)]
    return [known.get(day, {"date": day, "new_bytes": 0, "restore_points": 0}) for day in span]


def _charts(ahead: Forecast, per_day: list[dict[str, Any]], bars: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "total": ahead.total_bytes,
        "alarm": ahead.alarm_bytes,
        "past": [[day.isoformat(), used] for day, used in ahead.past] if ahead.total_bytes else [],
        "future": [[day.isoformat(), used] for day, used in ahead.future],
        "days": [[day["date"], day["new_bytes"]] for day in per_day],
        "vms": [[vm["vm_name"], vm["new_bytes"]] for vm in bars],
    }
