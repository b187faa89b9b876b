"""The application: REST v1, pages, health and metrics around one workspace."""

from __future__ import annotations

from fastapi import FastAPI

import vbm
from vbm.services.workspace import Workspace
from vbm.web import access, health, metrics, openapi, pages, problems
from vbm.web.api import (
    audit,
    backups,
    channels,
    events,
    jobs,
    overview,
    people,
    repositories,
    runs,
    vcenters,
    vms,
)
from vbm.web.certificate import Certificate
from vbm.web.guard import Guard
from vbm.web.idempotency import Repeats
from vbm.web.options import WebOptions
from vbm.web.rate_limits import RateLimits
from vbm.web.state import WebState

_API = (jobs, runs, vms, backups, vcenters, repositories, channels, people, audit, overview, events)


def create_app(workspace: Workspace, options: WebOptions, certificate: Certificate | None = None) -> FastAPI:
    """An ASGI application. The workspace stays the caller's to close. ``certificate``: as what its server answers."""
    _ = workspace.vault  # a wrong master key is told now, not at the first click
    app = FastAPI(
        title="vSphere Backup Manager",
        version=vbm.__version__,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would lead to whatever host the request named
        generate_unique_id_function=lambda route: route.name,  # operation ids: stable, and short to call
    )
    app.state.vbm = WebState(workspace, options, certificate)
    problems.install(app)
    for module in _API:
        app.include_router(module.router, prefix="/api/v1")
    app.include_router(health.router)
    app.include_router(metrics.router)
    openapi.install(app)
    pages.install(app)
    app.add_middleware(Repeats)
    app.add_middleware(RateLimits, limits=options.limits, address_of=access.address_of)
    app.add_middleware(Guard, https=options.https, hosts=options.hosts)
    return app
