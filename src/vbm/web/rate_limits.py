"""How much the API answers: a token bucket for each key and each signed-in user, and one for each address that
guesses credentials. Pages are not counted: sign-ins have a throttle of their own.

Buckets are this process's own and are full at its start.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vbm.clock import Clock, SystemClock
from vbm.errors import InputError
from vbm.web.problems import problem

_MOST_BUCKETS: Final = 10_000
_DEFAULTS: Final = {"VBM_API_PER_MINUTE": 1200, "VBM_API_BURST": 300, "VBM_API_REFUSED_PER_MINUTE": 600}


@dataclass(frozen=True, slots=True)
class Limits:
    """``per_minute``, ``burst``: of who is known; ``refused_per_minute``: wrong credentials of an address; 0: none."""

    per_minute: int = _DEFAULTS["VBM_API_PER_MINUTE"]
    burst: int = _DEFAULTS["VBM_API_BURST"]
    refused_per_minute: int = _DEFAULTS["VBM_API_REFUSED_PER_MINUTE"]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Limits:
        """Raises InputError."""
        return cls(*(_count(environment, name, default) for name, default in _DEFAULTS.items()))


def _count(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InputError(f"{name} is {text!r}", hint="use a whole number; 0 for no limit")
    return int(text)


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float
    good: bool = False  # its credential has opened something


class Buckets:
    """Refilled steadily up to ``size``. The least recently used are forgotten, which fills them."""

    def __init__(self, per_minute: int, size: int, clock: Clock) -> None:
        self._rate, self.size, self._clock = per_minute / 60, max(1, size), clock
        self._known: OrderedDict[str, _Bucket] = OrderedDict()

    def of(self, name: str) -> _Bucket:
        now = self._clock.monotonic()
        found = self._known.setdefault(name, _Bucket(float(self.size), now))
        self._known.move_to_end(name)
        while len(self._known) > _MOST_BUCKETS:
            self._known.popitem(last=False)
        found.tokens = min(float(self.size), found.tokens + (now - found.at) * self._rate)
        found.at = now
        return found

    def take(self, name: str) -> bool:
        """Whether there was a token to take."""
        found = self.of(name)
        if found.tokens < 1:
            return False
        found.tokens -= 1
        return True

    def seconds_until(self, name: str, tokens: float) -> int:
        """Until it holds so many."""
        missing = tokens - self.of(name).tokens
        return math.ceil(missing / self._rate) if missing > 0 and self._rate else 0


class RateLimits:
    """An ASGI middleware. ``address_of``: where a request comes from, proxies considered."""

    def __init__(
        self, app: ASGIApp, limits: Limits, address_of: Callable[[Request], str], clock: Clock | None = None
    ) -> None:
        self._app, self._limits, self._address_of = app, limits, address_of
        clock = clock or SystemClock()
        self._callers = Buckets(limits.per_minute, limits.burst, clock)
        self._refused = Buckets(limits.refused_per_minute, limits.refused_per_minute, clock)
        self._aliases: OrderedDict[str, str] = OrderedDict()  # a session's cookie → its user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
            return
        address = self._address_of(Request(scope))
        caller = self._caller(scope, address)
        if self._limits.refused_per_minute and not self._callers.of(caller).good:
            self._refused.of(address)
            if self._refused.of(address).tokens < 1:
                wait = self._refused.seconds_until(address, 1)
                await _refuse(
                    "wrong credentials came from this address too often", wait, scope, receive, send
                )
                return
        if self._limits.per_minute and not self._callers.take(caller):
            wait = self._callers.seconds_until(caller, 1)
            answer = self._told(caller, send)
            await _refuse("that is more than this server answers a caller", wait, scope, receive, answer)
            return
        await self._app(scope, receive, self._watched(caller, address, scope, send))

    def _caller(self, scope: Scope, address: str) -> str:
        headers = Headers(scope=scope)
        given = headers.get("x-api-key") or headers.get("cookie") or ""
        if not given:
            return f"address {address}"
        hashed = hashlib.sha256(given.encode()).hexdigest()
        return self._aliases.get(hashed, hashed)

    def _watched(self, caller: str, address: str, scope: Scope, send: Send) -> Send:
        told = self._told(caller, send)

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] == 401:
                    self._refused.take(address)
                else:
                    self._callers.of(caller).good = True
                    self._alias(caller, scope.get("state", {}).get("signed_in"))
            await told(message)

        return watch

    def _alias(self, caller: str, session: Any) -> None:
        """All sessions of one user share a bucket from their second request on."""
        if session is None or caller.startswith("user "):
            return
        name = f"user {session.session.user_id}"
        self._aliases[caller] = name
        self._callers.of(name).good = True
        while len(self._aliases) > _MOST_BUCKETS:
            self._aliases.popitem(last=False)

    def _told(self, caller: str, send: Send) -> Send:
        if not self._limits.per_minute:
            return send

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["RateLimit-Limit"] = str(self._callers.size)
                headers["RateLimit-Remaining"] = str(int(self._callers.of(caller).tokens))
                full = self._callers.seconds_until(caller, self._callers.size)
                headers["RateLimit-Reset"] = str(full)
            await send(message)

        return tell


async def _refuse(said: str, seconds: int, scope: Scope, receive: Receive, send: Send) -> None:
    answer = problem(429, "rate-limited", said, hint=f"wait {max(1, seconds)} s and send it again")
    answer.headers["Retry-After"] = str(max(1, seconds))
    await answer(scope, receive, send)
