"""One request: sent, repeated where that is safe, its problem turned into an error."""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
import uuid
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from vbm.client.server import Server
from vbm.clock import Clock, SystemClock
from vbm.errors import (
    CancelledError,
    DamagedError,
    InputError,
    NotAllowedError,
    NotFoundError,
    TransientError,
    VbmError,
)

_ATTEMPTS: Final = 4
_LONGEST_WAIT: Final = 20.0  # somebody may be waiting at a terminal
_SECONDS: Final = httpx.Timeout(120.0, connect=10.0)
_LATER: Final = frozenset({429, 502, 503, 504})
_BY_KIND: Final[dict[str, type[VbmError]]] = {
    "failed": VbmError,
    "input": InputError,
    "not_found": NotFoundError,
    "not_allowed": NotAllowedError,
    "damaged": DamagedError,
    "cancelled": CancelledError,
}
_BY_STATUS: Final[dict[int, type[VbmError]]] = {
    400: InputError,
    401: NotAllowedError,
    403: NotAllowedError,
    404: NotFoundError,
    409: NotAllowedError,
    412: NotAllowedError,
    422: InputError,
    428: InputError,
    429: TransientError,
    503: TransientError,
}


class ServerUnreachableError(TransientError):
    """The server does not answer."""

    code = "server-unreachable"


class ServerUntrustedError(NotAllowedError):
    """The server's certificate is not the one expected, or nobody trusted vouches for it."""

    code = "server-untrusted"


class NotThisProductError(VbmError):
    """What answers at that address is no vSphere Backup Manager."""

    code = "not-this-product"


class Transport:
    """Thread-safe. GET is repeated where the server does not answer or is busy; so is POST, whose key makes it safe."""

    def __init__(self, server: Server, *, clock: Clock | None = None) -> None:
        self.server, self._clock = server, clock or SystemClock()
        self._http = httpx.Client(
            base_url=f"{server.url.rstrip('/')}/api/v1",
            headers={"X-API-Key": server.api_key, "Accept": "application/json", "User-Agent": "vbm-client"},
            timeout=_SECONDS,
            verify=_trust(server),
        )

    def close(self) -> None:
        self._http.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The answer of success. Raises VbmError."""
        given = dict(headers or {})
        if method == "POST":
            given.setdefault("Idempotency-Key", uuid.uuid4().hex)
        asked = {name: value for name, value in (params or {}).items() if value not in (None, "")}
        request = self._http.build_request(method, path, params=asked, json=body, headers=given)
        attempts = _ATTEMPTS if method in {"GET", "POST"} else 1
        for attempt in range(1, attempts + 1):
            last = attempt == attempts
            try:
                answer = self._http.send(request)
            except httpx.HTTPError as error:
                if last or _is_about_trust(error):
                    raise self._unreachable(error) from error
                self._clock.sleep(0.25 * 2**attempt)
                continue
            if answer.is_success:
                return answer
            if last or not _pass_by(answer):
                raise problem_error(answer)
            self._clock.sleep(_wait_of(answer, attempt))
        raise AssertionError("unreachable")

    def _unreachable(self, error: httpx.HTTPError) -> VbmError:
        if _is_about_trust(error):
            return ServerUntrustedError(
                f"the certificate of {self.server.url} is not trusted: {error}",
                hint="name its CA with VBM_SERVER_CA_FILE, or the certificate with VBM_SERVER_THUMBPRINT",
            )
        return ServerUnreachableError(
            f"{self.server.url} does not answer: {str(error) or type(error).__name__}",
            hint="is vbm serve running there, and the address right?",
        )


def problem_error(answer: httpx.Response) -> VbmError:
    """The error that the server's problem document tells of."""
    try:
        document = answer.json()
        code, title = str(document["code"]), str(document["title"])
    except (ValueError, KeyError, TypeError):
        return NotThisProductError(
            f"{answer.url.host} answers {answer.status_code} {answer.reason_phrase} to {answer.url.path}",
            hint="does VBM_SERVER name vSphere Backup Manager itself?",
        )
    kind = _BY_KIND.get(str(document.get("kind")), _BY_STATUS.get(answer.status_code, VbmError))
    parts = [f"{part.get('where')}: {part.get('message')}" for part in document.get("errors") or ()]
    error = kind(": ".join([title, *parts[:1]]), hint=str(document.get("hint") or ""))
    error.code = code  # type: ignore[misc]
    return error


def _pass_by(answer: httpx.Response) -> bool:
    """Whether the same request may be answered otherwise in a while."""
    if answer.status_code in _LATER:
        return True
    return answer.status_code == 409 and "idempotency-under-way" in answer.text


def _wait_of(answer: httpx.Response, attempt: int) -> float:
    given = answer.headers.get("retry-after", "")
    seconds = float(given) if given.isascii() and given.isdigit() and len(given) < 6 else 0.5 * 2**attempt
    return min(_LONGEST_WAIT, seconds)


def _is_about_trust(error: httpx.HTTPError) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _trust(server: Server) -> ssl.SSLContext | bool:
    if not server.url.startswith("https:"):
        return True
    if server.thumbprint:
        return _pinned(server)
    try:
        return ssl.create_default_context(cafile=server.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"the CA file {server.ca_file} can't be used: {error}") from error


def _pinned(server: Server) -> ssl.SSLContext:
    """Trusts the one certificate that has this thumbprint, whatever name is in it. Connects once to get it."""
    wanted = server.thumbprint.replace(":", "").replace(" ", "").lower()
    found = _certificate(server)
    if not hmac.compare_digest(hashlib.sha256(found).hexdigest().encode(), wanted.encode()):
        raise ServerUntrustedError(
            f"the certificate of {server.url} has another thumbprint than VBM_SERVER_THUMBPRINT",
            hint="was it renewed? Compare it at the server before you trust the new one",
        )
    context = ssl.create_default_context(cadata=ssl.DER_cert_to_PEM_cert(found))
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # this certificate, not who issued it
    return context


def _certificate(server: Server) -> bytes:
    parts = urlsplit(server.url)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent; only looked at
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 443), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as secured,
        ):
            return secured.getpeercert(binary_form=True) or b""
    except OSError as error:
        raise ServerUnreachableError(
            f"{server.url} does not answer: {error}",
            hint="is vbm serve running there, and the address right?",
        ) from error
