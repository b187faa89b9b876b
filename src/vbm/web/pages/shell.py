"""One page: its template inside the frame, told who looks at it and what that one may do."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader
from jinja2.ext import loopcontrols

import vbm
from vbm.security.roles import Permission, permits
from vbm.services import identity
from vbm.web.pages import marks
from vbm.web.state import state_of

MAP: Final = (
    ("/", "Dashboard", "dashboard", "d", Permission.SEE),
    ("/vms", "VMs", "server-2", "v", Permission.SEE),
    ("/jobs", "Jobs", "list-check", "j", Permission.SEE),
    ("/runs", "Runs", "player-play", "r", Permission.SEE),
    ("/restore-points", "Restore points", "history", "p", Permission.SEE),
    ("/calendar", "Calendar", "calendar-event", "c", Permission.SEE),
    ("/storage", "Storage", "chart-bar", "s", Permission.SEE),
)
ADMIN_MAP: Final = (
    ("/repositories", "Repositories", "database", "o", Permission.MANAGE),
    ("/vcenters", "vCenters", "cloud", "e", Permission.MANAGE),
    ("/notifications", "Notifications", "bell", "n", Permission.MANAGE),
    ("/users", "Users & keys", "users", "u", Permission.MANAGE),
    ("/audit", "Audit", "shield-check", "a", Permission.MANAGE),
    ("/settings", "Settings", "settings", "t", Permission.MANAGE),
)


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(marks.STATIC.with_name("templates")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[loopcontrols],
    )
    marks.extend(made)
    made.globals |= {"MAP": MAP, "ADMIN_MAP": ADMIN_MAP, "VERSION": vbm.__version__, "Permission": Permission}
    return made


environment: Final = _environment()


def page(request: Request, template: str, /, status: int = 200, **context: Any) -> HTMLResponse:
    """A page or, where the template does not extend the frame, a part of one."""
    who = identity.current()
    session = getattr(request.state, "signed_in", None)

    def can(permission: Permission | str) -> bool:
        return who.role is not None and permits(who.role, Permission(permission))

    known: dict[str, Any] = {
        "request": request,
        "who": who,
        "csrf": session.session.csrf if session is not None else "",
        "can": can,
        "may_operate": can(Permission.OPERATE),
        "may_manage": can(Permission.MANAGE),
        "now": state_of(request).workspace.clock.now(),
        "here": request.url.path,
    }
    text = environment.get_template(template).render(known | context)
    return HTMLResponse(text, status)


def is_part(request: Request) -> bool:
    """Whether a script asks for a part of a page, not a person for a page."""
    return "hx-request" in request.headers
