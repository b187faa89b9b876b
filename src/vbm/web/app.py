"""The application: REST v1, pages, health and metrics around one workspace."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

import vbm
from vbm.services.workspace import Workspace
from vbm.web import health, pages, problems
from vbm.web.api import (
    audit,
    backups,
    channels,
    jobs,
    overview,
    people,
    repositories,
    runs,
    vcenters,
    vms,
)
from vbm.web.guard import Guard
from vbm.web.options import WebOptions
from vbm.web.state import WebState

_API = (jobs, runs, vms, backups, vcenters, repositories, channels, people, audit, overview)
_DESCRIPTION = (
    "Send an API key as `X-API-Key`. Lists answer `{items, next_cursor}`; errors are RFC 9457 problems with a "
    "stable `code`; times are RFC 3339 in UTC; sizes are bytes."
)


def create_app(workspace: Workspace, options: WebOptions) -> FastAPI:
    """An ASGI application. The workspace stays the caller's to close."""
    _ = workspace.vault  # a wrong master key is told now, not at the first click
    app = FastAPI(
        title="vSphere Backup Manager",
        version=vbm.__version__,
        description=_DESCRIPTION,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        responses={"4XX": {"description": "A problem", "content": _PROBLEM}},
    )
    app.state.vbm = WebState(workspace, options)
    problems.install(app)
    for module in _API:
        app.include_router(module.router, prefix="/api/v1")
    app.include_router(health.router)
    pages.install(app)
    app.add_middleware(Guard, https=options.https)
    return app


_PROBLEM: dict[str, Any] = {problems.MEDIA_TYPE: {"schema": problems.PROBLEM_SCHEMA}}
