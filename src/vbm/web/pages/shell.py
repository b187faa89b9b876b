"""One page: its template inside the frame, told who looks at it and what that one may do."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader
from jinja2.ext import loopcontrols

import vbm
from vbm.security.roles import Permission, permits
from vbm.services import identity, jobs
from vbm.web.pages import marks
from vbm.web.state import state_of

MAP: Final = (  # path, name, icon, key
    ("/", "Dashboard", "dashboard", "d"),
    ("/vms", "VMs", "server-2", "v"),
    ("/jobs", "Jobs", "list-check", "j"),
    ("/runs", "Runs", "player-play", "r"),
    ("/restore-points", "Restore points", "history", "p"),
    ("/calendar", "Calendar", "calendar-event", "c"),
    ("/storage", "Storage", "chart-bar", "s"),
)
ADMIN_MAP: Final = (
    ("/repositories", "Repositories", "database", "o"),
    ("/vcenters", "vCenters", "cloud", "e"),
)
WHOLE_MAP: Final = (  # for administrators without limits
    ("/notifications", "Notifications", "bell", "n"),
    ("/users", "Users & keys", "users", "u"),
    ("/audit", "Audit", "shield-check", "a"),
    ("/settings", "Settings", "settings", "t"),
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
    made.globals |= {"VERSION": vbm.__version__, "Permission": Permission}
    return made


environment: Final = _environment()


def page(request: Request, template: str, /, status: int = 200, **context: Any) -> HTMLResponse:
    """A page or, where the template does not extend the frame, a part of one."""
    who = identity.current()
    session = getattr(request.state, "signed_in", None)

    def can(permission: Permission | str) -> bool:
        return who.role is not None and permits(who.role, Permission(permission))

    @cache
    def seen_jobs() -> frozenset[str]:
        return frozenset(record.id for record in jobs.visible(state_of(request).workspace))

    def sees_job(job_id: str) -> bool:
        """Also true of one that is gone: a page says so."""
        return who.scope.everything or job_id in seen_jobs()

    manages, manages_all = can(Permission.MANAGE), can(Permission.MANAGE) and who.scope.everything
    known: dict[str, Any] = {
        "request": request,
        "who": who,
        "csrf": session.session.csrf if session is not None else "",
        "can": can,
        "may_operate": can(Permission.OPERATE),
        "sees_job": sees_job,
        "may_manage": manages,
        "may_manage_all": manages_all,
        "main_map": MAP if can(Permission.SEE) else (),
        "admin_map": (ADMIN_MAP if manages else ()) + (WHOLE_MAP if manages_all else ()),
        "now": state_of(request).workspace.clock.now(),
        "here": request.url.path,
    }
    text = environment.get_template(template).render(known | context)
    return HTMLResponse(text, status)


def is_part(request: Request) -> bool:
    """Whether a script asks for a part of a page, not a person for a page."""
    return "hx-request" in request.headers
