"""``/settings``: limits, and whether the installation itself is well."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from vbm.errors import VbmError
from vbm.security.roles import Permission
from vbm.services import condition, preferences
from vbm.web.access import needs
from vbm.web.pages.show import Form, again, back, page
from vbm.web.state import State, WebState

router = APIRouter(prefix="/settings", dependencies=[needs(Permission.MANAGE)])


def _context(state: WebState) -> dict[str, Any]:
    space = state.workspace
    return {
        "settings": preferences.listing(space),
        "condition": condition.condition(space, state.checks()),
        "now": space.clock.now(),
    }


@router.get("")
def show(request: Request, state: State) -> Response:
    return page(request, "settings/settings.html", **_context(state))


@router.post("")
def change(request: Request, state: State, form: Form) -> Response:
    """All of them at once, or none."""
    space = state.workspace
    try:
        names = [one.name for one in preferences.listing(space)]
        preferences.change(space, {name: form[name].strip() for name in names if name in form})
    except VbmError as error:
        return again(request, "settings/settings.html", error, **_context(state))
    return back("/settings", "settings-saved")
