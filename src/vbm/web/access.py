"""Who asks, and whether the route lets them: the one door of pages and API alike.

A browser has a session cookie and must send its CSRF token with everything that changes something; a script has an API
key in ``X-API-Key``. Every route names the permission it needs through ``needs``; a test fails where one does not.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from vbm.clock import Clock, SystemClock
from vbm.errors import NotAllowedError
from vbm.security.roles import Permission
from vbm.services import api_keys, identity, sign_in
from vbm.services.identity import NotSignedInError
from vbm.services.sign_in import SignedIn
from vbm.web.state import state_of

_ASK_SECONDS: Final = 30
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM: Final = "application/x-www-form-urlencoded"


class CsrfError(NotAllowedError):
    """A change asked for without the token of the session, or from another site."""

    code = "csrf"


def cookie_name(request: Request) -> str:
    """Over TLS with a prefix that browsers guard: this host, this path, TLS only."""
    return "__Host-vbm" if state_of(request).options.https else "vbm_session"


def give_cookie(request: Request, answer: Response, name: str, value: str, seconds: float) -> None:
    """One that scripts can't read, over TLS where the server is reached so; sent back when a link leads here."""
    answer.set_cookie(
        name,
        value,
        max_age=int(seconds),
        httponly=True,
        secure=state_of(request).options.https,
        samesite="lax",
        path="/",
    )


def take_cookie(request: Request, answer: Response, name: str) -> None:
    """The browser forgets it."""
    answer.delete_cookie(name, path="/", secure=state_of(request).options.https, httponly=True)


def address_of(request: Request) -> str:
    """Where the request comes from; behind a trusted proxy what that says of it."""
    peer = request.client.host if request.client else ""
    forwarded = request.headers.get("x-forwarded-for", "")
    if forwarded and state_of(request).options.trusts(peer):
        return forwarded.rpartition(",")[2].strip()[:100]
    return peer


async def signed_in(request: Request) -> SignedIn | None:
    """The browser's session, its CSRF token checked where the request changes something."""
    cookie = request.cookies.get(cookie_name(request), "")
    if not cookie:
        return None
    in_use = not _asks_by_itself(request)
    found = await run_in_threadpool(sign_in.resumed, state_of(request).workspace, cookie, in_use=in_use)
    if found is not None and request.method not in SAFE_METHODS:
        await _check_csrf(request, found.session.csrf)
    return found


def _asks_by_itself(request: Request) -> bool:
    """Whether an open page asks for its live parts, nobody having touched it."""
    polls = "hx-request" in request.headers or request.url.path.endswith("/events")
    return polls and request.method == "GET"


async def _check_csrf(request: Request, wanted: str) -> None:
    check_origin(request)
    given = request.headers.get("x-csrf-token", "")
    if not given and request.headers.get("content-type", "").startswith(_FORM):
        given = str((await request.form()).get("csrf", ""))
    if not hmac.compare_digest(given.encode(), wanted.encode()):
        raise CsrfError(
            "the request does not carry this session's token", hint="reload the page and try again"
        )


def check_origin(request: Request) -> None:
    """Raises CsrfError where a browser says that another site asks."""
    origin = request.headers.get("origin", "")
    if origin and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise CsrfError("the request comes from another site")
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise CsrfError("the request comes from another site")


async def who_asks(request: Request) -> identity.Identity:
    """Sets the identity for the rest of the request. An API key goes before a session."""
    key = request.headers.get("x-api-key", "")
    if key:
        workspace = state_of(request).workspace
        found = await run_in_threadpool(api_keys.identified, workspace, key, address_of(request))
        if found is None:
            raise NotSignedInError("the API key is unknown, revoked or expired", hint="ask for a new one")
        return identity.become(found)
    session = await signed_in(request)
    request.state.signed_in = session
    return identity.become(session.identity() if session is not None else identity.NOBODY)


class Door:
    """Around a long answer: shuts for who is signed out, revoked, or may see other things than when it began."""

    def __init__(self, request: Request, who: identity.Identity, clock: Clock | None = None) -> None:
        self._request, self._who, self._clock = request, who, clock or SystemClock()
        self._asked = self._clock.monotonic()

    async def is_open(self) -> bool:
        """Asked anew twice a minute."""
        now = self._clock.monotonic()
        if now - self._asked < _ASK_SECONDS:
            return True
        self._asked = now
        try:
            return await who_asks(self._request) == self._who
        except NotAllowedError:
            return False


def needs(permission: Permission) -> Any:
    """A dependency: the request goes on only for roles that have the permission."""

    async def check(request: Request) -> None:
        await who_asks(request)
        identity.require(permission)

    return Depends(_marked(check, permission))


def _marked(
    check: Callable[[Request], Awaitable[None]], permission: Permission | None
) -> Callable[[Request], Awaitable[None]]:
    check.vbm_rule = permission  # type: ignore[attr-defined]
    return check


async def _anybody(request: Request) -> None:
    await who_asks(request)


def open_to_all() -> Any:
    """A dependency for the few routes that need nobody to be signed in."""
    return Depends(_marked(_anybody, None))
