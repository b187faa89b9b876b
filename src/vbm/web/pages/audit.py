"""``/audit``: who did what, from where: filters, CSV, and whether the chain is whole."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response, StreamingResponse

from vbm.clock import rfc3339
from vbm.errors import InputError
from vbm.security.roles import Permission
from vbm.services import trail
from vbm.services.trail import AuditEntry, AuditFilter
from vbm.services.workspace import Workspace
from vbm.web.access import needs
from vbm.web.pages.show import link, page
from vbm.web.state import Space

router = APIRouter(prefix="/audit", dependencies=[needs(Permission.MANAGE)])
_PAGE: Final = 100
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS: Final = ("number", "time", "actor", "source", "action", "target", "result", "detail", "hash")
Text = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True, slots=True)
class Filters:
    """What the address asks for."""

    actor: Text = ""
    action: Text = ""
    target: Text = ""
    since: Text = ""

    def wanted(self) -> AuditFilter:
        moment = None
        if self.since:
            try:
                moment = datetime.fromisoformat(self.since).replace(tzinfo=UTC)
            except ValueError as error:
                raise InputError(f"not a day: {self.since!r}", hint="write it like 2026-11-23") from error
        return AuditFilter(0, _PAGE, self.actor, self.action, self.target, moment)


def _filters(actor: Text = "", action: Text = "", target: Text = "", since: Text = "") -> Filters:
    return Filters(actor, action, target, since)


Given = Annotated[Filters, Depends(_filters)]


@router.get("")
def list_entries(
    request: Request, space: Space, given: Given, before: Annotated[int, Query(ge=0, le=2**53)] = 0
) -> Response:
    """The newest first."""
    found = trail.listing(space, replace(given.wanted(), before=before, limit=_PAGE + 1))
    current = {name: getattr(given, name) for name in ("actor", "action", "target", "since")}
    return page(
        request,
        "audit/list.html",
        entries=found[:_PAGE],
        older=found[_PAGE - 1].number if len(found) > _PAGE else 0,
        before=before,
        given=given,
        url=lambda **change: link("/audit", current, **change),
        export=link("/audit/export.csv", current),
        now=space.clock.now(),
    )


@router.get("/verify")
def verify(request: Request, space: Space) -> Response:
    """Walk the chain of hashes."""
    return page(request, "audit/verified.html", verdict=trail.check(space))


@router.get("/export.csv")
def export(space: Space, given: Given) -> StreamingResponse:
    """All that the filters let through, the newest first, for a spreadsheet."""
    lines = _lines(space, given.wanted())
    headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)


def _lines(space: Workspace, wanted: AuditFilter) -> Iterator[str]:
    yield _line(_COLUMNS)
    before = 0
    while found := trail.listing(space, replace(wanted, before=before, limit=1000)):
        for entry in found:
            yield _line(_row(entry))
        before = found[-1].number


def _row(entry: AuditEntry) -> tuple[str, ...]:
    return (
        str(entry.number),
        rfc3339(entry.time),
        entry.actor,
        entry.source,
        entry.action,
        entry.target,
        entry.result,
        json.dumps(entry.detail, ensure_ascii=False, sort_keys=True),
        entry.hash,
    )


def _line(cells: tuple[str, ...]) -> str:
    """One line. A cell that a spreadsheet would run as a formula begins with an apostrophe."""
    output = io.StringIO()
    csv.writer(output).writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells])
    return output.getvalue()
