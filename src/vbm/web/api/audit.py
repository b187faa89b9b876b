"""``/audit``: who did what, from where, and how it ended."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from vbm.clock import rfc3339
from vbm.security.roles import Permission
from vbm.services import trail
from vbm.services.trail import AuditEntry, AuditFilter
from vbm.web.access import needs
from vbm.web.api.moments import Moment
from vbm.web.api.paging import Pages
from vbm.web.api.schemas import Page, Time
from vbm.web.state import Space

router = APIRouter(prefix="/audit", tags=["audit"], dependencies=[needs(Permission.MANAGE)])
Text = Annotated[str, Query(max_length=200)]


class AuditShown(BaseModel):
    number: int
    time: Time
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
def list_entries(
    space: Space,
    paging: Pages,
    actor: Text = "",
    action: Text = "",
    target: Text = "",
    since: Moment | None = None,
) -> dict[str, Any]:
    """The newest first."""
    wanted = AuditFilter(paging.number, paging.limit + 1, actor, action, target, since)
    return paging.page(trail.listing(space, wanted), lambda entry: entry.number, document)


@router.get("/verify", response_model=AuditVerdict)
def verify_audit(space: Space) -> dict[str, Any]:
    """Walk the chain of hashes."""
    verdict = trail.check(space)
    return {
        "whole": not verdict.broken_at,
        "entries": verdict.count,
        "broken_at": verdict.broken_at,
        "last_hash": verdict.last_hash,
    }
