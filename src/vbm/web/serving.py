"""The server around the application: one thread that answers, until it is told to stop."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn

from vbm.errors import InputError, VbmError
from vbm.services import accounts
from vbm.services.workspace import Workspace
from vbm.web.app import create_app
from vbm.web.certificate import Certificate
from vbm.web.options import WebOptions
from vbm.web.state import WebState

_LAST_WORDS_SECONDS: Final = 5  # for requests under way when it stops
_BACKLOG: Final = 2048


class ServerEndedError(VbmError):
    """The web server ended though nobody asked it to."""

    code = "server-ended"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; with a certificate and its key by TLS. Port 0: any that is free."""

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: Path | None = None
    key: Path | None = None

    @property
    def https(self) -> bool:
        return self.certificate is not None

    def identified(self) -> Certificate | None:
        """By TLS: as what it answers. Raises InputError for a certificate or key that can't be served with."""
        if (self.certificate is None) != (self.key is None):
            raise InputError("a certificate and its key go together", hint="give both or neither")
        if self.certificate is None or self.key is None:
            return None
        return Certificate(self.certificate, self.key)


class WebServer:
    """Listens from the moment it is made; ``start`` answers in a thread of its own, ``stop`` ends that."""

    def __init__(self, workspace: Workspace, address: Address, options: WebOptions) -> None:
        certificate = address.identified()
        self._workspace, self._address = workspace, address
        app = create_app(workspace, options, certificate)
        self._state: WebState = app.state.vbm
        self._socket = _listen(address)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # the application itself knows whom to believe
                ws="none",
                lifespan="off",
                ssl_context_factory=(lambda *_: certificate.context()) if certificate else None,
                timeout_graceful_shutdown=_LAST_WORDS_SECONDS,
            )
        )
        self._thread = threading.Thread(target=self._work, name="web", daemon=True)
        self._ended: Callable[[], None] = _nothing
        self._asked = False

    @property
    def url(self) -> str:
        host, port = self._socket.getsockname()[:2]
        shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)  # noqa: S104
        scheme = "https" if self._address.https else "http"
        return f"{scheme}://[{shown}]:{port}" if ":" in shown else f"{scheme}://{shown}:{port}"

    @property
    def awaits_set_up(self) -> bool:
        """Whether the first administrator is still to be made."""
        return accounts.none_yet(self._workspace)

    def start(self, ended: Callable[[], None]) -> None:
        """``ended`` is called where the server ends by itself."""
        self._ended = ended
        self._thread.start()

    def _work(self) -> None:
        with suppress(SystemExit):  # its way to say that it could not start
            self._server.run(sockets=[self._socket])
        if not self._asked:
            self._ended()

    def stop(self) -> None:
        """Take no more requests; live streams end, and browsers come back to whoever answers next."""
        self._asked = True
        self._state.stopping.set()
        self._server.should_exit = True

    def join(self) -> None:
        """Until the last answer is given. Raises ServerEndedError where nobody had asked it to stop."""
        self._thread.join()
        self._socket.close()
        if not self._asked:
            raise ServerEndedError("the web server ended by itself", hint="its log says why")


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{address.host} port {address.port} can't be listened on: {why}",
            hint="choose others with --host and --port; ports below 1024 belong to root",
        ) from error


def _nothing() -> None:
    """Nobody wants to know."""
