"""By which server, and with what right, the files of a datastore are asked for."""

from __future__ import annotations

import http.client
import threading
from typing import Protocol

from vbm.clock import Clock
from vbm.vsphere.datastore_path import DatastorePath
from vbm.vsphere.model import Endpoint


class HttpLogin(Protocol):
    """What plain HTTP needs of a session; ``vbm.vsphere.session.Session`` is one. Thread-safe."""

    endpoint: Endpoint
    clock: Clock

    @property
    def where(self) -> str: ...

    def cookie(self) -> str:
        """The value of the ``Cookie:`` header of the newest login."""

    def renew(self) -> str:
        """A cookie that works now; logs in again where the server forgot us."""

    def http_connection(
        self, host: str = "", port: int = 0, *, thumbprint: str = ""
    ) -> http.client.HTTPSConnection:
        """Not yet open; the certificate is checked before a byte is sent."""


class Route(Protocol):
    """Thread-safe. ``host`` and ``port`` name the server whose gate and connections are used."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    def connection(self) -> http.client.HTTPSConnection:
        """A new one, not yet open."""

    def request(self, method: str, path: DatastorePath) -> tuple[str, dict[str, str]]:
        """URL and headers for one request."""

    def refused(self, headers: dict[str, str]) -> None:
        """The server answered 401 to those headers: make the next ones better, or raise."""


class SessionRoute:
    """Through the endpoint itself, with the session's cookie."""

    def __init__(self, login: HttpLogin, datacenter: str) -> None:
        self._login = login
        self._datacenter = datacenter
        self._lock = threading.Lock()

    @property
    def host(self) -> str:
        return self._login.endpoint.host

    @property
    def port(self) -> int:
        return self._login.endpoint.port

    def connection(self) -> http.client.HTTPSConnection:
        return self._login.http_connection()

    def request(self, method: str, path: DatastorePath) -> tuple[str, dict[str, str]]:  # noqa: ARG002
        return path.url(self._datacenter), {"Cookie": self._login.cookie(), "Accept": "*/*"}

    def refused(self, headers: dict[str, str]) -> None:
        with self._lock:  # of all threads that were refused, one asks
            if self._login.cookie() == headers.get("Cookie"):
                self._login.renew()
