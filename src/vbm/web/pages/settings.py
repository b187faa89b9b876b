"""``/settings``: limits, and whether the installation itself is well."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from vbm.errors import VbmError
from vbm.security.roles import Permission
from vbm.services import condition, preferences
from vbm.services.workspace import Workspace
from vbm.web.access import needs
from vbm.web.pages.show import Form, again, back, page
from vbm.web.state import Space

router = APIRouter(prefix="/settings", dependencies=[needs(Permission.MANAGE)])


def _context(space: Workspace) -> dict[str, Any]:
    return {
        "settings": preferences.listing(space),
        "condition": condition.condition(space),
        "now": space.clock.now(),
    }


@router.get("")
def show(request: Request, space: Space) -> Response:
    return page(request, "settings/settings.html", **_context(space))


@router.post("")
def change(request: Request, space: Space, form: Form) -> Response:
    """All of them at once, or none."""
    try:
        names = [one.name for one in preferences.listing(space)]
        preferences.change(space, {name: form[name].strip() for name in names if name in form})
    except VbmError as error:
        return again(request, "settings/settings.html", error, **_context(space))
    return back("/settings", "settings-saved")
