"""Around every request: nobody asks until proven, bodies are small, headers tell browsers to be strict.

Where the names are listed under which the server is known, it answers under no other: another site's name that is
made to resolve to this server (DNS rebinding) opens nothing then.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vbm.services import identity
from vbm.web.problems import problem

LARGEST_BODY_BYTES: Final = 1024 * 1024
_DIGITS: Final = 10  # of a length; longer ones are not even read as a number
_PROBES: Final = ("/healthz", "/readyz")  # asked by address
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """An ASGI middleware."""

    def __init__(self, app: ASGIApp, *, https: bool, hosts: frozenset[str] = frozenset()) -> None:
        self._app, self._hosts = app, hosts
        self._headers = _HEADERS | (
            {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"} if https else {}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity.become(identity.NOBODY)
        headers = dict(scope["headers"])
        strict = self._strict(scope, send)
        if not self._is_known(headers.get(b"host", b""), scope["path"]):
            await problem(421, "host-unknown", "this server is not known under that name")(
                scope, receive, strict
            )
            return
        declared = headers.get(b"content-length", b"0")
        if not (declared.isdigit() and len(declared) < _DIGITS) or int(declared) > LARGEST_BODY_BYTES:
            await problem(413, "body-too-large", "the body is larger than 1 MiB")(scope, receive, strict)
            return
        await self._app(scope, _Limited(receive), strict)

    def _is_known(self, host: bytes, path: str) -> bool:
        if not self._hosts or path in _PROBES:
            return True
        try:
            return (urlsplit(f"//{host.decode('ascii')}").hostname or "") in self._hosts
        except ValueError:
            return False

    def _strict(self, scope: Scope, send: Send) -> Send:
        cacheable = str(scope["path"]).startswith("/static/")

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if not cacheable:
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        return with_headers


class _Limited:
    """A body without a declared length ends the connection once it is too large."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._left = LARGEST_BODY_BYTES

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        return {"type": "http.disconnect"} if self._left < 0 else message
