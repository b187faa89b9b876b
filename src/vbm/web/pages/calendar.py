"""``/calendar``: how each day's runs ended, and the runs of one day."""

from __future__ import annotations

import json
import secrets
from datetime import date, timedelta
from typing import Annotated, Any, Final
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from vbm.errors import InputError
from vbm.security.roles import Permission
from vbm.services import overview, runs
from vbm.services.overview import Day
from vbm.web.access import needs
from vbm.web.api.overview import zone_of
from vbm.web.guard import POLICY
from vbm.web.pages.show import page
from vbm.web.state import Space

router = APIRouter(prefix="/calendar")
_WORDS: Final = {
    "failed": "failed",
    "cancelled": "cancelled",
    "warning": "with warnings",
    "succeeded": "succeeded",
}
_MARKS: Final = {"failed": "✕", "cancelled": "–", "warning": "!", "succeeded": "✓"}
_LISTED: Final = 200
Zone = Annotated[str, Query(max_length=100)]


@router.get("", dependencies=[needs(Permission.SEE)])
def show_month(request: Request, space: Space, month: str = "", timezone: Zone = "") -> Response:
    """A month as a table that any reader can read; scripts make the calendar of it."""
    zone = _zone(request, timezone)
    today = space.clock.now().astimezone(zone).date()
    first = _first_of(month, today)
    days = overview.month(space, first.year, first.month, zone)
    nonce = secrets.token_urlsafe(16)
    answer = page(
        request,
        "calendar/month.html",
        first=first,
        before=(first - timedelta(days=1)).replace(day=1),
        after=(first + timedelta(days=32)).replace(day=1),
        weeks=_weeks(days),
        said=_said(days),
        today=today,
        timezone=timezone,
        zone_name=zone.key,
        events=json.dumps(_events(days)),
        csp_nonce=nonce,
    )
    answer.headers["Content-Security-Policy"] = _policy(nonce)
    return answer


def _zone(request: Request, wanted: str) -> ZoneInfo:
    """The one that the address names, else the reader's as the browser tells it in a cookie, else UTC."""
    if wanted:
        return zone_of(wanted)
    try:
        return zone_of(unquote(request.cookies.get("vbm_zone", "UTC"))[:100])
    except InputError:
        return zone_of("UTC")


def _policy(nonce: str) -> str:
    """The calendar writes one style sheet, with the nonce, and brings its icons along as a font."""
    with_styles = POLICY.replace("style-src 'self'", f"style-src 'self' 'nonce-{nonce}'")
    return with_styles.replace("font-src 'self'", "font-src 'self' data:")


def _first_of(month: str, today: date) -> date:
    try:
        return date.fromisoformat(f"{month or today.isoformat()[:7]}-01")
    except ValueError as error:
        raise InputError(f"not a month: {month!r}", hint="write it like 2026-11") from error


def told(day: Day) -> str:
    """``12 succeeded, 1 failed``; empty where none ran."""
    return ", ".join(f"{count} {_WORDS[state]}" for state in _WORDS if (count := day.counts.get(state, 0)))


def _weeks(days: list[Day]) -> list[list[tuple[Day, str] | None]]:
    """Rows of seven, Monday first."""
    cells: list[tuple[Day, str] | None] = [None] * days[0].date.weekday()
    cells += [(day, told(day)) for day in days]
    cells += [None] * (-len(cells) % 7)
    return [cells[n : n + 7] for n in range(0, len(cells), 7)]


def _said(days: list[Day]) -> str:
    """The month in one sentence."""
    ran = [day for day in days if day.worst]
    bad = [day for day in ran if day.worst == "failed"]
    if not ran:
        return "Nothing ran in this month."
    if not bad:
        return f"Backups ran on {len(ran)} day{'s' if len(ran) > 1 else ''}, and none failed."
    return f"Backups ran on {len(ran)} days; on {len(bad)} of them at least one failed."


def _events(days: list[Day]) -> list[dict[str, Any]]:
    return [
        {
            "start": day.date.isoformat(),
            "title": told(day),
            "short": " ".join(f"{_MARKS[s]}{day.counts[s]}" for s in _MARKS if day.counts.get(s)),
            "state": day.worst,
        }
        for day in days
        if day.worst
    ]


@router.get("/events", dependencies=[needs(Permission.SEE)])
def events(space: Space, start: str, end: str, timezone: Zone = "UTC") -> JSONResponse:
    """The days from ``start`` to ``end`` as the calendar asks for them, at most ten weeks."""
    try:
        first, last = date.fromisoformat(start[:10]), date.fromisoformat(end[:10])
    except ValueError as error:
        raise InputError("not a day", hint="write it like 2026-11-23") from error
    days: list[Day] = []
    month = first.replace(day=1)
    while month < last and month < first + timedelta(days=70):
        days += overview.month(space, month.year, month.month, zone_of(timezone))
        month = (month + timedelta(days=32)).replace(day=1)
    return JSONResponse(_events([day for day in days if first <= day.date < last]))


@router.get("/{day}", dependencies=[needs(Permission.SEE)])
def show_day(request: Request, space: Space, day: str, timezone: Zone = "") -> Response:
    """The runs that were queued on that day, those that failed first."""
    try:
        wanted = date.fromisoformat(day)
    except ValueError as error:
        raise InputError(f"not a day: {day!r}", hint="write it like 2026-11-23") from error
    zone = _zone(request, timezone)
    counts = overview.days(space, [wanted], zone)[0]
    found = runs.worst_between(space, *overview.hours(wanted, zone), _LISTED)
    return page(
        request,
        "calendar/day.html",
        day=wanted,
        before=wanted - timedelta(days=1),
        after=wanted + timedelta(days=1),
        runs=found,
        more_runs=sum(counts.counts.values()) - len(found),
        said=told(counts),
        timezone=timezone,
        now=space.clock.now(),
    )
