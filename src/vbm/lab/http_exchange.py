"""One HTTP request and its answer, as the parts of the lab that serve paths see it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from http.client import responses
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from vbm.lab.context import Context
from vbm.lab.errors import HangUp, HttpError
from vbm.lab.sessions import COOKIE, TICKET_COOKIE, User, UserSession

_READ_BYTES = 1 << 20


class Sender(Protocol):
    def sendall(self, data: bytes | bytearray | memoryview, /) -> None: ...


class Exchange:
    """Wraps the standard library's handler: parsed path, cookies, bodies in and out.

    ``head_sent`` tells whether a status is on the wire already: after that only hanging up is left.
    """

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        self.handler = handler
        self.method = handler.command
        self.target = handler.path
        self.path = unquote(parts.path, errors="surrogateescape")
        self.query = parse_qs(parts.query, keep_blank_values=True)
        self.headers = handler.headers
        self.head_sent = False
        self.body_read = False
        self.new_cookie = ""
        self.connection: Sender = handler.connection

    def parameter(self, name: str) -> str:
        """A query parameter, its name in any case; ``""`` where it is missing."""
        for key, values in self.query.items():
            if key.casefold() == name.casefold():
                return values[0]
        return ""

    def cookie(self, name: str) -> str:
        try:
            jar = SimpleCookie(self.headers.get("Cookie", ""))
        except CookieError:
            return ""
        return jar[name].value if name in jar else ""

    @property
    def local_address(self) -> tuple[str, int]:
        host = self.headers.get("Host", "")
        name, _, port = host.rpartition(":") if host.rpartition(":")[2].isdigit() else (host, "", "")
        if not name:
            address = self.handler.connection.getsockname()
            return str(address[0]), int(address[1])
        return name, int(port) if port else 443

    def read_body(self, limit: int) -> bytes:
        """The whole body. Raises HttpError 413 beyond the limit."""
        pieces = []
        size = 0
        for piece in self.body():
            size += len(piece)
            if size > limit:
                raise HttpError(413, "the body is too large")
            pieces.append(piece)
        return b"".join(pieces)

    def body(self) -> Iterator[bytes]:
        """The body in pieces of at most 1 MiB; HangUp where it ends too early."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").casefold():
            yield from self._chunks()
        else:
            yield from self._exactly(self._content_length())
        self.body_read = True

    def _content_length(self) -> int:
        text = self.headers.get("Content-Length", "0")
        if not text.isdigit():
            raise HttpError(400, "Content-Length is not a number")
        return int(text)

    def _exactly(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self.handler.rfile.read(min(left, _READ_BYTES))
            if not piece:
                raise HangUp(reset=False)
            left -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            line = self.handler.rfile.readline(256).split(b";")[0].strip()
            try:
                size = int(line, 16)
            except ValueError:
                raise HttpError(400, "not a chunk size") from None
            yield from self._exactly(size)
            self.handler.rfile.readline(256)
            if size == 0:
                return

    def has_body(self) -> bool:
        return "Transfer-Encoding" in self.headers or self.headers.get("Content-Length", "0") != "0"

    def start(self, status: int, headers: dict[str, str]) -> None:
        """Send the head; the body follows through ``connection.sendall``."""
        self.connection.sendall(self._head(status, headers))
        self.head_sent = True

    def reply(
        self, status: int, body: bytes, content_type: str, headers: dict[str, str] | None = None
    ) -> None:
        """The whole answer, in one write."""
        fields = {"Content-Type": content_type, "Content-Length": str(len(body)), **(headers or {})}
        payload = b"" if self.method == "HEAD" else body
        self.connection.sendall(self._head(status, fields) + payload)
        self.head_sent = True

    def _head(self, status: int, headers: dict[str, str]) -> bytes:
        lines = [f"HTTP/1.1 {status} {responses.get(status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if self.new_cookie:
            lines.append(f'Set-Cookie: {COOKIE}="{self.new_cookie}"; Path=/; HttpOnly; Secure; ')
        if self.handler.close_connection:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def current_session(context: Context, exchange: Exchange, *, touch: bool = True) -> UserSession | None:
    token = exchange.cookie(COOKIE)
    return context.sessions.find(token, touch=touch) if token else None


def authenticate(context: Context, exchange: Exchange) -> User:
    """The user of a ticket, a session cookie or basic credentials (which open a session). HttpError 401."""
    ticket = exchange.cookie(TICKET_COOKIE)
    if ticket:
        user = context.sessions.redeem_ticket(ticket, f"http{exchange.method}", exchange.target)
        if user is not None:
            return user
    session = current_session(context, exchange, touch=False)
    if session is not None:
        return session.user
    user = _basic(context, exchange)
    if user is None:
        raise HttpError(401, "Unauthorized", {"WWW-Authenticate": 'Basic realm="VMware HTTP server"'})
    exchange.new_cookie = context.sessions.login(user, exchange.handler.client_address[0]).token
    return user


def _basic(context: Context, exchange: Exchange) -> User | None:
    scheme, _, value = exchange.headers.get("Authorization", "").partition(" ")
    if scheme.casefold() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return context.users.check(name, password)
