"""The pages that people see, one module a topic. They call the same use cases as the API."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from vbm.web.pages import (
    api_docs,
    dashboard,
    entrance,
    entrance_oidc,
    errors,
    jobs,
    marks,
    more,
    runs,
    search,
)

TOPICS: Final[tuple[APIRouter, ...]] = (
    entrance.router,
    entrance_oidc.router,
    dashboard.router,
    jobs.router,
    runs.router,
    search.router,
    api_docs.router,
    *more.ROUTERS,
)


class _Assets(StaticFiles):
    """An address that names the content's hash is good for a year, any other for five minutes."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        named = b"v=" in scope.get("query_string", b"")
        age = "public, max-age=31536000, immutable" if named else "public, max-age=300"
        answer.headers.setdefault("Cache-Control", age)
        return answer


def install(app: FastAPI) -> None:
    """Every page, the static files and the pages of errors."""
    for router in TOPICS:
        app.include_router(router, include_in_schema=False)
    app.mount("/static", _Assets(directory=marks.STATIC), name="static")
    errors.install(app)
