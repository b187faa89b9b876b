"""One login at one vCenter or ESXi host, kept alive for as long as a run takes.

vSphere forgets an idle session after 30 minutes and any session when it restarts; a backup reads for hours.
So a thread calls in every few minutes, and every call that meets NotAuthenticated logs in again, once for
all threads, and is made again. References (``vm-42``) stay valid over a new login of the same endpoint.
"""

from __future__ import annotations

import http.client
import logging
import ssl
import threading
from collections.abc import Callable
from typing import Any, Final, Self, TypeVar

from vbm.cancel import CancelToken
from vbm.clock import Clock, SystemClock
from vbm.errors import VbmError
from vbm.ids import MoRef
from vbm.retry import RetryPolicy, retry
from vbm.vsphere import soap, tls
from vbm.vsphere.faults import (
    ConnectionLostError,
    HostUnreachableError,
    NoPrivilegeError,
    NotLicensedError,
    SessionLostError,
    UntrustedCertificateError,
    WrongPasswordError,
    WrongThumbprintError,
    translate,
)
from vbm.vsphere.model import Credentials, Endpoint
from vbm.vsphere.tls import fetch_thumbprint

__all__ = [
    "ConnectionLostError",
    "HostUnreachableError",
    "NoPrivilegeError",
    "NotLicensedError",
    "Session",
    "SessionLostError",
    "UntrustedCertificateError",
    "WrongPasswordError",
    "WrongThumbprintError",
    "fetch_thumbprint",
]

T = TypeVar("T")

KEEP_ALIVE_SECONDS: Final = 300.0  # well below the 30 minutes after which vSphere forgets a session
READS: Final = RetryPolicy(attempts=5, first_seconds=0.5, longest_seconds=20)

_log = logging.getLogger(__name__)


class Session:
    """Thread-safe. ``connect`` is the only way to make one; ``close`` logs out and may be called twice."""

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        context: ssl.SSLContext,
        stub: soap.Stub,
        clock: Clock,
    ) -> None:
        self.endpoint = endpoint
        self.clock = clock
        self.about: dict[str, str] = {}
        self.reads = READS
        self._credentials = credentials
        self._context = context
        self._stub = stub
        self._content: Any = None
        self._login_lock = threading.Lock()
        self._generation = 0
        self._stop = threading.Event()
        self._keeper: threading.Thread | None = None

    @classmethod
    def connect(
        cls,
        endpoint: Endpoint,
        credentials: Credentials,
        *,
        cancel: CancelToken | None = None,
        clock: Clock | None = None,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
        reads: RetryPolicy = READS,
    ) -> Session:
        """A logged-in session. The certificate is checked before anything is sent.

        Raises WrongThumbprintError, UntrustedCertificateError, WrongPasswordError, HostUnreachableError,
        ConnectionLostError, or InputError where no thumbprint or CA is given.
        """
        context = tls.context_for(endpoint)
        where = f"{endpoint.host}:{endpoint.port}"

        def attempt() -> Session:
            try:
                return cls._open(endpoint, credentials, context, clock or SystemClock())
            except Exception as error:
                raise _while_connecting(error, where) from error

        session = retry(
            attempt, reads, cancel or CancelToken(), transient=lambda e: isinstance(e, ConnectionLostError)
        )
        session.reads = reads
        session._start_keeper(keep_alive_seconds)
        return session

    @classmethod
    def _open(
        cls, endpoint: Endpoint, credentials: Credentials, context: ssl.SSLContext, clock: Clock
    ) -> Session:
        probe = tls.CheckedConnection(
            endpoint.host, endpoint.port, context=context, read_seconds=tls.CONNECT_SECONDS
        )
        try:
            version = soap.negotiate(probe)
        finally:
            probe.close()
        stub = soap.make_stub(endpoint.host, endpoint.port, version, context, tls.READ_SECONDS)
        session = cls(endpoint, credentials, context, stub, clock)
        try:
            session._login()
        except BaseException:
            stub.DropConnections()
            raise
        return session

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def where(self) -> str:
        """How messages name this endpoint."""
        return self.endpoint.name or f"{self.endpoint.host}:{self.endpoint.port}"

    @property
    def is_vcenter(self) -> bool:
        return self.about.get("api_type") == "VirtualCenter"

    # -- calls

    def call(self, make: Callable[[Any], T]) -> T:
        """What ``make(content)`` returns. Where the session was lost: a new login, then ``make`` once more.

        ``make`` should do one server call, since it may run twice; a call refused with NotAuthenticated had
        no effect. Other failures are raised as this product's errors and not retried: after
        ConnectionLostError the outcome of the call is unknown.
        """
        generation = self._generation
        try:
            return make(self._content)
        except Exception as error:
            failure = translate(error, self.where)
            if not isinstance(failure, SessionLostError):
                raise failure from error
        self._login_again(generation)
        try:
            return make(self._content)
        except Exception as error:
            raise translate(error, self.where) from error

    def read(self, make: Callable[[Any], T], cancel: CancelToken | None = None) -> T:
        """``call`` for what changes nothing: broken connections and busy servers are tried again."""
        return retry(lambda: self.call(make), self.reads, cancel or CancelToken())

    def object(self, type_name: str, moref: str) -> Any:
        """A pyVmomi reference of this session, such as ``object("Task", "task-7")``; makes no call."""
        return soap.managed(self._stub, type_name, moref)

    def vm(self, moref: MoRef | str) -> Any:
        return soap.managed(self._stub, "VirtualMachine", moref)

    def snapshot(self, moref: MoRef | str) -> Any:
        return soap.managed(self._stub, "VirtualMachineSnapshot", moref)

    # -- plain HTTP with the same login

    def cookie(self) -> str:
        """The value of a ``Cookie:`` header: ``vmware_soap_session="…"``, of the newest login."""
        return self._stub.cookie

    def renew(self) -> str:
        """A cookie that works now: asks the server, and logs in again where it forgot us (after a 401)."""
        self.read(_ping)
        return self.cookie()

    def account(self) -> tuple[str, str]:
        """(user name, password), for the other APIs of the same server."""
        return self._credentials.username, self._credentials.password

    def ssl_context(self) -> ssl.SSLContext:
        """Checks certificates by this endpoint's rule whoever uses it; see ``tls.PinnedContext``."""
        return self._context

    def http_connection(
        self, host: str = "", port: int = 0, *, thumbprint: str = ""
    ) -> http.client.HTTPSConnection:
        """An HTTPS connection, not yet open, verified like the API's own. One thread at a time.

        For an ESXi host behind vCenter, ``thumbprint`` is what vCenter said of it (``sslThumbprint``,
        SHA-1 or SHA-256); without one the endpoint's own rule holds there too.
        """
        host, port = host or self.endpoint.host, port or self.endpoint.port
        context = tls.context_for_sha1(thumbprint, f"{host}:{port}") if thumbprint else self._context
        return tls.CheckedConnection(host, port, context=context, read_seconds=tls.READ_SECONDS)

    # -- life

    def close(self) -> None:
        """Log out and end every connection. Never raises for a server that is gone."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._keeper is not None and self._keeper is not threading.current_thread():
            self._keeper.join(timeout=5)
        try:
            self._content.sessionManager.Logout()
        except Exception as error:  # noqa: BLE001 - the session ends by itself in half an hour
            _log.debug("logout at %s failed: %s", self.where, translate(error, self.where).message)
        self._stub.DropConnections()

    def _login(self) -> None:
        """A new session on connections of its own, so that no call ever goes out half logged in."""
        fresh = soap.make_stub(
            self.endpoint.host, self.endpoint.port, self._stub.version, self._context, tls.READ_SECONDS
        )
        try:
            content = soap.service_content(fresh)
            content.sessionManager.Login(self._credentials.username, self._credentials.password)
        finally:
            fresh.DropConnections()
        self._stub.keep_cookie(fresh.cookie)
        if self._content is None:
            self._content = soap.service_content(self._stub)
        self.about = _about(content.about)
        self._generation += 1

    def _login_again(self, seen_generation: int) -> None:
        """One login for all threads that met the same lost session."""
        with self._login_lock:
            if self._generation != seen_generation:
                return
            _log.info("logging in to %s again: the session was lost", self.where)
            try:
                retry(self._try_login, self.reads, CancelToken())
            except VbmError:
                _log.warning("logging in to %s again failed", self.where)
                raise

    def _try_login(self) -> None:
        try:
            self._login()
        except Exception as error:
            raise translate(error, self.where) from error

    def _start_keeper(self, every_seconds: float) -> None:
        self._keeper = threading.Thread(
            target=self._keep_alive, args=(every_seconds,), name=f"keep-alive {self.where}", daemon=True
        )
        self._keeper.start()

    def _keep_alive(self, every_seconds: float) -> None:
        while not self._stop.wait(every_seconds):
            try:
                self.call(_ping)
            except Exception as error:  # noqa: BLE001 - the next real call meets it and says so
                _log.warning("keeping the session at %s alive failed: %s", self.where, error)


def _ping(content: Any) -> object:
    if content.sessionManager.currentSession is None:  # some servers answer CurrentTime without a login
        raise soap.vim.fault.NotAuthenticated
    return None


def _while_connecting(error: Exception, where: str) -> VbmError:
    if isinstance(error, (TimeoutError, OSError)) and not isinstance(error, (ssl.SSLError, ConnectionError)):
        return HostUnreachableError(
            translate(error, where).message, hint="check host name, port, DNS and firewall"
        )
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLCertVerificationError):
        return HostUnreachableError(
            f"{where} does not speak TLS there", hint="check the port: the API is at 443"
        )
    return translate(error, where)


def _about(about: Any) -> dict[str, str]:
    return {
        "name": about.fullName or about.name,
        "version": about.version or "",
        "build": about.build or "",
        "api_type": about.apiType or "",
        "api_version": about.apiVersion or "",
        "instance_uuid": (about.instanceUuid or "").lower(),
        "product": about.licenseProductName or about.name or "",
    }
