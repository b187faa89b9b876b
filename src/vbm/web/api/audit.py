"""``/audit``: who did what, from where, and how it ended."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from vbm.clock import rfc3339
from vbm.security.roles import Permission
from vbm.services import trail
from vbm.services.trail import AuditEntry, AuditFilter
from vbm.web.access import needs
from vbm.web.api.paging import Cursor, Limit, after, page
from vbm.web.api.schemas import Page
from vbm.web.state import Space

router = APIRouter(prefix="/audit", tags=["audit"], dependencies=[needs(Permission.MANAGE)])
Text = Annotated[str, Query(max_length=200)]


class AuditShown(BaseModel):
    number: int
    time: str
    actor: str
    source: str
    action: str
    target: str
    result: str
    detail: dict[str, Any]
    hash: str


class AuditVerdict(BaseModel):
    whole: bool
    entries: int
    broken_at: int
    last_hash: str


def document(entry: AuditEntry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "time": rfc3339(entry.time),
        "actor": entry.actor,
        "source": entry.source,
        "action": entry.action,
        "target": entry.target,
        "result": entry.result,
        "detail": entry.detail,
        "hash": entry.hash,
    }


@router.get("", response_model=Page[AuditShown])
def list_entries(  # noqa: PLR0917 - a filter a field
    space: Space,
    limit: Limit = 100,
    cursor: Cursor = "",
    actor: Text = "",
    action: Text = "",
    target: Text = "",
    since: datetime | None = None,
) -> dict[str, Any]:
    """The newest first."""
    last = after(cursor) if cursor else "0"
    before = int(last) if last.isascii() and last.isdigit() and len(last) < 18 else 0
    moment = since.astimezone() if since else None
    found = trail.listing(space, AuditFilter(before, limit + 1, actor, action, target, moment))
    return page(found, limit, lambda entry: entry.number, document)


@router.get("/verify", response_model=AuditVerdict)
def verify(space: Space) -> dict[str, Any]:
    """Walk the chain of hashes."""
    verdict = trail.check(space)
    return {
        "whole": not verdict.broken_at,
        "entries": verdict.count,
        "broken_at": verdict.broken_at,
        "last_hash": verdict.last_hash,
    }
