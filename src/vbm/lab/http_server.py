"""HTTPS on a thread per connection: TLS, keep-alive, and the way from a path to what serves it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from vbm.lab.context import Context
from vbm.lab.errors import HangUp, HttpError
from vbm.lab.http_exchange import Exchange

Serve = Callable[[Context, Exchange], None]
_HANDSHAKE_SECONDS = 20.0
_LINGER_BYTES = 64 << 20
_LINGER_SECONDS = 0.5


class HttpServer(ThreadingMixIn, TCPServer):
    """Listens on one address; ``routes`` are prefixes of paths, the longest match wins."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], context: Context, routes: dict[str, Serve]) -> None:
        self.context = context
        self.routes = sorted(routes.items(), key=lambda route: -len(route[0]))
        self.tls: ssl.SSLContext | None = None
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def route(self, path: str) -> Serve | None:
        for prefix, serve in self.routes:
            if path == prefix or path.startswith(prefix.rstrip("/") + "/"):
                return serve
        return None

    def track(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)

    def untrack(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)

    def drop_connections(self) -> None:
        """Every open connection ends now."""
        with self._lock:
            connections = [*self._connections]
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        """The handler has closed it."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpServer
    disable_nagle_algorithm = True

    def setup(self) -> None:
        raw: socket.socket = self.request
        raw.settimeout(_HANDSHAKE_SECONDS)
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(raw, server_side=True)
        self.request.settimeout(self.server.context.options.keep_alive_seconds)
        self.server.track(self.request)
        super().setup()

    def finish(self) -> None:
        self.server.untrack(self.request)
        with contextlib.suppress(OSError, ValueError):
            super().finish()
        with contextlib.suppress(OSError):
            self.request.close()

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()

    def _serve(self) -> None:
        exchange = Exchange(self)
        try:
            self._route(exchange)
        except HttpError as error:
            self._fail(exchange, error)
        except HangUp as order:
            self._hang_up(reset=order.reset)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - told to the client and in the log
            self.server.context.log("internal-error", path=exchange.path, error=repr(error))
            self._fail(exchange, HttpError(500, "internal error"))
        if exchange.has_body() and not exchange.body_read:
            self.close_connection = True

    def _route(self, exchange: Exchange) -> None:
        serve = self.server.route(exchange.path)
        if serve is None:
            raise HttpError(404, f"nothing at {exchange.path}")
        serve(self.server.context, exchange)

    def _fail(self, exchange: Exchange, error: HttpError) -> None:
        if exchange.head_sent:
            self._hang_up(reset=True)
            return
        if exchange.has_body() and not exchange.body_read:
            self.close_connection = True
        text = f"<html><body><h1>{error.status}</h1><p>{error.message}</p></body></html>"
        body = text.replace("&", "&amp;").encode("utf-8", "replace")
        exchange.reply(error.status, body, "text/html; charset=utf-8", error.headers)
        self._linger(exchange)

    def _linger(self, exchange: Exchange) -> None:
        """Reads on for a while, so that a client in the middle of its upload comes to read the refusal."""
        if exchange.body_read or not exchange.has_body():
            return
        left = _LINGER_BYTES
        self.connection.settimeout(_LINGER_SECONDS)
        with contextlib.suppress(OSError):
            while left > 0 and (piece := self.connection.recv(1 << 16)):
                left -= len(piece)

    def _hang_up(self, *, reset: bool) -> None:
        self.close_connection = True
        if reset:
            linger = struct.pack("ii", 1, 0)
            with contextlib.suppress(OSError):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Nothing: ``events.jsonl`` tells what matters."""
