"""``Idempotency-Key`` on POST: around the API's routes, so that each of them has it and none knows of it."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vbm.errors import InputError, VbmError
from vbm.security.roles import Permission
from vbm.services import identity, repeats
from vbm.services.repeats import Answer
from vbm.services.workspace import Workspace
from vbm.web.access import who_asks
from vbm.web.problems import problem, problem_of
from vbm.web.state import state_of

HEADER: Final = "idempotency-key"
_LONGEST: Final = 255
_KEPT: Final = ("content-type", "location", "etag")


class Repeats:
    """An ASGI middleware. Only answers of success are kept: after a refusal the same key may be sent again."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = _key(scope)
        if key is None:
            await self._app(scope, receive, send)
            return
        if not (key.isprintable() and 1 <= len(key) <= _LONGEST):
            said = f"an idempotency key has 1 to {_LONGEST} printable characters"
            await problem(400, InputError.code, said)(scope, receive, send)
            return
        try:
            body = await Request(scope, receive).body()
        except ClientDisconnect:
            await problem(413, "body-too-large", "the body is larger than 1 MiB")(scope, receive, send)
            return
        try:
            request_id = await _identified(Request(scope, _again(body, receive)), key)
        except VbmError:  # the route says the same, in its own way
            await self._app(scope, _again(body, receive), send)
            return
        await self._carry_out(request_id, body, scope, receive, send)

    async def _carry_out(
        self, request_id: str, body: bytes, scope: Scope, receive: Receive, send: Send
    ) -> None:
        space = state_of(Request(scope)).workspace
        try:
            known = await run_in_threadpool(repeats.begin, space, request_id, _fingerprint(scope, body))
        except VbmError as error:
            await problem_of(error)(scope, receive, send)
            return
        if known is not None:
            headers = {**known.headers, "Idempotency-Replayed": "true"}
            await Response(known.body, known.status, headers)(scope, receive, send)
            return
        repeats.working_on(request_id)
        answer = _Held(send)
        try:
            await self._app(scope, _again(body, receive), answer)
            await _keep(space, request_id, answer)
        except Exception:  # not where the task is cancelled: its thread may go on
            await run_in_threadpool(repeats.abandon, space, request_id)
            raise
        await answer.let_go()


async def _keep(space: Workspace, request_id: str, answer: _Held) -> None:
    if 200 <= answer.status < 300:
        kept = Answer(answer.status, answer.headers(), answer.body.decode())
        await run_in_threadpool(repeats.finish, space, request_id, kept)
    else:
        await run_in_threadpool(repeats.abandon, space, request_id)


def _key(scope: Scope) -> str | None:
    if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith("/api/v1/"):
        return None
    return Headers(scope=scope).get(HEADER)


async def _identified(request: Request, key: str) -> str:
    """Who asks, as what, and the key: somebody else's key is another one. Raises the errors of ``who_asks``."""
    who = await who_asks(request)
    identity.require(Permission.SEE)
    limits = [sorted(getattr(who.scope, name)) for name in who.scope.__dataclass_fields__]
    text = "\0".join((key, who.name, str(who.role), who.user_id, str(limits)))
    identity.become(identity.NOBODY)  # the route finds out for itself
    return hashlib.sha256(text.encode()).hexdigest()


def _fingerprint(scope: Scope, body: bytes) -> str:
    route = f"{scope['path']}?{scope['query_string'].decode('latin-1')}\0"
    return hashlib.sha256(route.encode() + body).hexdigest()


def _again(body: bytes, receive: Receive) -> Receive:
    """The body once more, then what else the client has to say."""
    said = False

    async def message() -> Message:
        nonlocal said
        if said:
            return await receive()
        said = True
        return {"type": "http.request", "body": body, "more_body": False}

    return message


class _Held:
    """An answer that is kept back until it is stored: who got it may rely on it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message = {"type": "http.response.start", "status": 500, "headers": []}
        self.body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        else:
            self.body += message.get("body", b"")

    @property
    def status(self) -> int:
        return int(self._start["status"])

    def headers(self) -> dict[str, str]:
        found = Headers(raw=self._start["headers"])
        return {name: found[name] for name in _KEPT if name in found}

    async def let_go(self) -> None:
        await self._send(self._start)
        last: dict[str, Any] = {"type": "http.response.body", "body": self.body, "more_body": False}
        await self._send(last)
