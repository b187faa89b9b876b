"""A small HTTPS server of files with ranges, which misbehaves as it is told, and a login at it."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from fixtures_vsphere import Certificate, make_certificate
from vbm.cancel import CancelToken
from vbm.clock import SystemClock
from vbm.retry import RetryPolicy
from vbm.vsphere import tls
from vbm.vsphere.datastore_path import DatastorePath
from vbm.vsphere.model import Endpoint
from vbm.vsphere.transports.connections import ConnectionPool
from vbm.vsphere.transports.host_gate import GatePolicy, HostGate
from vbm.vsphere.transports.http_range import RangedHttpSource, ReadPolicy, Web
from vbm.vsphere.transports.routes import SessionRoute

QUICK = ReadPolicy(
    broken=RetryPolicy(attempts=4, first_seconds=0.001, longest_seconds=0.01), busy_tries=6, idle_seconds=20.0
)
QUICK_GATE = GatePolicy(first_pause_seconds=0.001, longest_pause_seconds=0.01, reopen_after=3)


@dataclass(frozen=True)
class Fault:
    """``kind``: status, reset, short, range, whole, hang, total; ``after`` bytes of the body where it matters."""

    kind: str
    after: int = 0
    status: int = 503
    headers: tuple[tuple[str, str], ...] = ()
    text: str = ""


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


class FileServer:
    """Serves ``/folder/<name>``. ``faults`` are used up by GETs, one each."""

    def __init__(self, certificate: Certificate) -> None:
        self.certificate = certificate
        self.files: dict[str, bytes] = {}
        self.faults: deque[Fault] = deque()
        self.cookie = ""  # not empty: needed
        self.requests: list[Request] = []
        self.inside = 0
        self.most_inside = 0
        self.connections = 0
        self.released = threading.Event()  # ends hanging answers
        self.hanging = threading.Event()  # an answer hangs now
        self.lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)

    def gets(self) -> list[str]:
        """The Range headers of the GETs so far."""
        with self.lock:
            return [r.headers.get("Range", "") for r in self.requests if r.method == "GET"]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, owner: FileServer) -> None:
        self.owner = owner
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(owner.certificate.pem)
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True

    def setup(self) -> None:
        self.request.settimeout(30)
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        with self.server.owner.lock:
            self.server.owner.connections += 1
        super().setup()

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().finish()
        with contextlib.suppress(OSError):
            self.request.close()

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:
        data = self._start()
        if data is None:
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()

    def do_GET(self) -> None:
        owner = self.server.owner
        with owner.lock:
            owner.inside += 1
            owner.most_inside = max(owner.most_inside, owner.inside)
        try:
            data = self._start()
            if data is not None:
                self._answer(data, owner.faults.popleft() if owner.faults else Fault("none"))
        finally:
            with owner.lock:
                owner.inside -= 1

    def _start(self) -> bytes | None:
        owner = self.server.owner
        parts = urlsplit(self.path)
        with owner.lock:
            owner.requests.append(
                Request(self.command, parts.path, parse_qs(parts.query), dict(self.headers))
            )
        if owner.cookie and self.headers.get("Cookie") != owner.cookie:
            self._status(401)
            return None
        data = owner.files.get(unquote(parts.path).removeprefix("/folder/"))
        if data is None:
            self._status(404)
        return data

    def _status(self, status: int, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, data: bytes, fault: Fault) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if fault.kind == "status":
            self._status(fault.status, fault.headers)
            return
        if match is None or fault.kind == "whole":
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return
        first, last = int(match[1]), int(match[2])
        if last >= len(data):
            self._status(416)
            return
        body = data[first : last + 1]
        said = fault.text if fault.kind == "range" else f"bytes {first}-{last}/{len(data)}"
        self.send_response(206)
        self.send_header("Content-Range", said)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self._body(body, fault)

    def _body(self, body: bytes, fault: Fault) -> None:
        if fault.kind not in {"reset", "short", "hang"}:
            self.wfile.write(body)
            return
        self.wfile.write(body[: fault.after])
        self.close_connection = True
        if fault.kind == "hang":
            self.server.owner.hanging.set()
            self.server.owner.released.wait(30)
        elif fault.kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@dataclass
class Login:
    """At a FileServer; ``renew`` makes the cookie that the server wants."""

    server: FileServer
    current: str = ""
    renewed: int = 0
    fresh: str = ""
    clock: SystemClock = field(default_factory=SystemClock)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("lab", "127.0.0.1", self.server.port, thumbprint=self.server.certificate.thumbprint)

    @property
    def where(self) -> str:
        return "lab"

    def cookie(self) -> str:
        return self.current

    def renew(self) -> str:
        self.renewed += 1
        self.current = self.fresh
        return self.current

    def http_connection(
        self, host: str = "", port: int = 0, *, thumbprint: str = ""
    ) -> http.client.HTTPSConnection:
        endpoint = self.endpoint
        return tls.CheckedConnection(
            endpoint.host, endpoint.port, context=tls.context_for(endpoint), read_seconds=20
        )


@dataclass
class Reading:
    """A source at a FileServer and what it stands on."""

    server: FileServer
    login: Login
    pool: ConnectionPool
    gate: HostGate
    cancel: CancelToken
    policy: ReadPolicy

    def source(self, path: str = "[ds] web/web-flat.vmdk") -> RangedHttpSource:
        web = Web(self.pool, self.gate, self.cancel, self.policy, where="lab")
        return RangedHttpSource(web, DatastorePath.parse(path))


@contextlib.contextmanager
def reading(folder: Path, policy: ReadPolicy = QUICK) -> Iterator[Reading]:
    server = FileServer(make_certificate(folder, "files"))
    login = Login(server)
    pool = ConnectionPool(SessionRoute(login, "DC0"))
    try:
        yield Reading(server, login, pool, HostGate(QUICK_GATE), CancelToken(), policy)
    finally:
        pool.close()
        server.close()
