"""Errors as RFC 9457 problems, with the stable code that the command line shows too."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from vbm.errors import Kind, VbmError

MEDIA_TYPE: Final = "application/problem+json"
_BY_CODE: Final = {
    "not-signed-in": 401,
    "too-many-attempts": 429,
    "rate-limited": 429,
    "name-taken": 409,
    "job-busy": 409,
    "run-ended": 409,
    "set-up-done": 409,
    "last-admin": 409,
    "changed-meanwhile": 412,
    "precondition-missing": 428,
    "idempotency-key-reused": 422,
    "idempotency-under-way": 409,
    "idempotency-answer-lost": 409,
    "catalog-locked": 503,
}
_BY_KIND: Final = {
    Kind.INPUT: 400,
    Kind.NOT_FOUND: 404,
    Kind.NOT_ALLOWED: 403,
    Kind.DAMAGED: 409,
    Kind.CANCELLED: 409,
    Kind.FAILED: 424,  # something that this depends on, a vCenter or a store, did not do its part
}
_LATER: Final = {429: "60", 503: "5"}  # seconds
PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string", "description": "One sentence: what, on what."},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable; see the page of errors."},
        "hint": {"type": "string", "description": "What to do."},
        "kind": {
            "type": "string",
            "enum": [kind.name.lower() for kind in Kind],
            "description": "The sort of failure that the command line makes its exit code of.",
        },
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}


def problem(
    status: int,
    code: str,
    title: str,
    hint: str = "",
    errors: list[dict[str, Any]] | None = None,
    *,
    kind: Kind | None = None,
) -> JSONResponse:
    """One problem document."""
    document: dict[str, Any] = {
        "type": f"urn:vbm:error:{code}",
        "title": title,
        "status": status,
        "code": code,
    }
    if hint:
        document["hint"] = hint
    if kind is not None:
        document["kind"] = kind.name.lower()
    if errors is not None:
        document["errors"] = errors
    headers = {"WWW-Authenticate": "ApiKey"} if status == 401 else {}
    if status in _LATER:
        headers["Retry-After"] = _LATER[status]
    return JSONResponse(document, status, headers, media_type=MEDIA_TYPE)


def status_of(error: VbmError) -> int:
    return _BY_CODE.get(error.code, _BY_KIND[error.kind])


def problem_of(error: VbmError) -> JSONResponse:
    return problem(status_of(error), error.code, error.message, error.hint, kind=error.kind)


def install(app: FastAPI) -> None:
    """Every error that leaves a route becomes a problem; none tells of the inside."""

    async def known(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, VbmError)  # noqa: S101 - registered for it alone
        return problem_of(error)

    async def invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        errors = [
            {"where": ".".join(map(str, found["loc"])), "message": found["msg"]} for found in error.errors()
        ]
        return problem(422, "invalid-request", "the request does not fit the schema", errors=errors)

    async def http(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        answer = problem(error.status_code, f"http-{error.status_code}", str(error.detail))
        answer.headers.update(error.headers or {})  # 405 says what is allowed
        return answer

    app.add_exception_handler(VbmError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
