"""``/``: are we safe, and if not, what is to be done."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from vbm.catalog.runs import LIVE, RunFilter
from vbm.security.roles import Permission
from vbm.services import overview, runs
from vbm.web.access import needs
from vbm.web.pages.shell import page
from vbm.web.state import Space

router = APIRouter()


@router.get("/", dependencies=[needs(Permission.SEE)])
def show(request: Request, space: Space) -> Response:
    return page(request, "dashboard/dashboard.html", found=overview.dashboard(space))


@router.get("/parts/top", dependencies=[needs(Permission.SEE)])
def top(request: Request, space: Space) -> Response:
    """How much work is running: in the top bar of every page."""
    live = runs.visible(space, RunFilter(states=LIVE, limit=1000))
    return page(request, "dashboard/_top.html", live=live)
