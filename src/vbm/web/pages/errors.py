"""Errors for people: where a browser asks for a page, it is told what happened, to what, and what to do."""

from __future__ import annotations

import logging
from typing import Final
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from vbm.errors import VbmError
from vbm.services import accounts, identity
from vbm.web.access import signed_in
from vbm.web.pages.shell import is_part, page
from vbm.web.problems import problem, status_of
from vbm.web.state import state_of

_LOG: Final = logging.getLogger(__name__)
_TITLES: Final = {
    400: "That can't be right",
    403: "Not allowed",
    404: "Nothing is here",
    405: "Not possible here",
    409: "Not possible now",
    412: "Somebody else was faster",
    422: "That can't be right",
    424: "Something else did not do its part",
    429: "Too many attempts",
    500: "Something broke here",
    503: "Busy",
}


def wants_page(request: Request) -> bool:
    """Whether a person looks at the answer."""
    path = request.url.path
    if path.startswith(("/api/v1", "/static/", "/metrics", "/healthz", "/readyz")):
        return False
    return "text/html" in request.headers.get("accept", "") or is_part(request)


async def error_page(request: Request, status: int, code: str, title: str, hint: str = "") -> Response:
    """The page, or the way to the sign-in where nobody is signed in."""
    if status == 401:
        return await _to_sign_in(request)
    await _know_who(request)
    context = {"code": code, "message": title, "hint": hint, "heading": _TITLES.get(status, "It failed")}
    template = "_error_part.html" if is_part(request) else "error.html"
    answer = page(request, template, status, **context)
    if status == 429:
        answer.headers["Retry-After"] = "60"
    return answer


async def _to_sign_in(request: Request) -> Response:
    space = state_of(request).workspace
    target = "/set-up" if await run_in_threadpool(accounts.none_yet, space) else "/sign-in"
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if target == "/sign-in" and request.method == "GET" and path != "/" and not is_part(request):
        target += f"?next={quote(path, safe='')}"
    if is_part(request):
        return Response(status_code=401, headers={"HX-Redirect": target})
    return RedirectResponse(target, 303)


async def _know_who(request: Request) -> None:
    """A path that is nowhere has no route that asks who looks: the frame wants to know all the same."""
    if getattr(request.state, "signed_in", None) is None and request.method == "GET":
        found = await signed_in(request)
        if found is not None:
            request.state.signed_in = found
            identity.become(found.identity())


def install(app: FastAPI) -> None:
    """In front of the handlers that answer with problems, which go on answering scripts."""
    problems = dict(app.exception_handlers)

    async def answer(request: Request, error: Exception) -> Response:
        if not wants_page(request):
            plain: Response = await problems[_kind(error)](request, error)
            return plain
        if isinstance(error, VbmError):
            return await error_page(request, status_of(error), error.code, error.message, error.hint)
        if isinstance(error, HTTPException):
            said = f"there is no page {request.url.path}" if error.status_code == 404 else str(error.detail)
            hint = "go back, or look in the side bar" if error.status_code == 404 else ""
            return await error_page(request, error.status_code, f"http-{error.status_code}", said, hint)
        return await error_page(
            request, 422, "invalid-request", "the address or the form does not fit", "go back and try again"
        )

    async def unforeseen(request: Request, error: Exception) -> Response:
        _LOG.error("unforeseen error at %s %s", request.method, request.url.path, exc_info=error)
        said = "the server met an error that it did not foresee"
        hint = "the log of vbm serve says more; please report it"
        if wants_page(request):
            return await error_page(request, 500, "internal", said, hint)
        return problem(500, "internal", said, hint)

    for kind in (VbmError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer)
    if Exception not in problems:
        app.add_exception_handler(Exception, unforeseen)


def _kind(error: Exception) -> type[Exception]:
    kinds: tuple[type[Exception], ...] = (VbmError, HTTPException, RequestValidationError)
    return next(kind for kind in kinds if isinstance(error, kind))
