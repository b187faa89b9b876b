"""TLS to vCenter and ESXi: a certificate is trusted by its fingerprint or by a CA file, never unseen.

A pinned context checks the fingerprint inside ``wrap_socket``, that is after the handshake and before
the caller gets a socket to write to. So whoever uses the context (pyVmomi, ``http.client``) can't send a
byte, let alone a password, to a server with another certificate; reconnects are checked like the first.
pyVmomi's own ``thumbprint=`` argument is not used: it checks only where the CA check failed first, and then
switches the shared context to no verification for every later connection.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import re
import socket
import ssl
from typing import Any, Final

from vbm.errors import InputError
from vbm.vsphere.faults import UntrustedCertificateError, WrongThumbprintError, unreachable
from vbm.vsphere.model import Endpoint

CONNECT_SECONDS: Final = 20.0
READ_SECONDS: Final = 120.0
_HEX: Final = re.compile(r"[0-9a-f]+")
_DIGEST_OF: Final = {40: "sha1", 64: "sha256"}


def normalise_thumbprint(text: str) -> str:
    """Lower-case hex digits without separators. Raises InputError unless it is SHA-256 (64 digits)."""
    digits = re.sub(r"[:\s-]", "", text).lower()
    if len(digits) == 40 and _HEX.fullmatch(digits):
        raise InputError(
            "that is a SHA-1 thumbprint, which is too weak to pin a certificate",
            hint="give the SHA-256 thumbprint: 64 hex digits",
        )
    if len(digits) != 64 or not _HEX.fullmatch(digits):
        raise InputError(f"not a SHA-256 thumbprint: {text!r}", hint="64 hex digits, with or without colons")
    return digits


def show_thumbprint(digits: str) -> str:
    """``AA:BB:…`` as vSphere shows it."""
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2)).upper()


class PinnedContext(ssl.SSLContext):
    """Accepts exactly one certificate, known by its SHA-256 (or, told by vCenter itself, SHA-1) digest.

    Name, validity dates and issuer don't matter then: vSphere ships self-signed certificates.
    """

    _pin: str
    _whom: str

    @classmethod
    def pinned(cls, digest_hex: str, whom: str) -> PinnedContext:
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the chain says nothing about a self-signed certificate
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context._pin = digest_hex
        context._whom = whom
        return context

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """The connected socket after a handshake whose certificate has the pinned digest."""
        options["do_handshake_on_connect"] = True
        wrapped = super().wrap_socket(*args, **options)
        try:
            self._check(wrapped)
        except BaseException:
            wrapped.close()
            raise
        return wrapped

    def wrap_bio(self, *_args: Any, **_options: Any) -> ssl.SSLObject:
        raise NotImplementedError("a pinned certificate is checked on sockets only")

    def _check(self, wrapped: ssl.SSLSocket) -> None:
        certificate = wrapped.getpeercert(binary_form=True)
        if not certificate:
            raise UntrustedCertificateError(f"{self._whom} showed no certificate")
        seen = hashlib.new(_DIGEST_OF[len(self._pin)], certificate).hexdigest()
        if not hmac.compare_digest(seen, self._pin):
            raise WrongThumbprintError(
                f"{self._whom} has another certificate than the one that was accepted: "
                f"expected {show_thumbprint(self._pin)}, it shows {show_thumbprint(seen)}",
                hint="if the certificate was renewed, compare the new thumbprint on the server's console "
                "and store it; otherwise somebody stands between",
                expected=self._pin,
                seen=seen,
            )


class CheckedConnection(http.client.HTTPSConnection):
    """HTTPS with its own time limit for connecting; one thread at a time."""

    def __init__(self, host: str, port: int, *, context: ssl.SSLContext, read_seconds: float) -> None:
        super().__init__(host, port, timeout=CONNECT_SECONDS, context=context)
        self._read_seconds = read_seconds

    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.sock.settimeout(self._read_seconds)


def context_for(endpoint: Endpoint) -> ssl.SSLContext:
    """The context that trusts this endpoint. Raises InputError where nothing says what to trust."""
    whom = f"{endpoint.host}:{endpoint.port}"
    if endpoint.thumbprint:
        return PinnedContext.pinned(normalise_thumbprint(endpoint.thumbprint), whom)
    if not endpoint.ca_file:
        raise InputError(
            f"nothing says which certificate of {whom} to trust",
            hint="give the certificate's SHA-256 thumbprint or a CA file",
        )
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"the CA file {endpoint.ca_file} can't be read: {error}", hint="a PEM file is wanted"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def context_for_sha1(digits: str, whom: str) -> ssl.SSLContext:
    """For ESXi hosts, whose SHA-1 thumbprint vCenter tells over a connection that is trusted already."""
    clean = re.sub(r"[:\s-]", "", digits).lower()
    if len(clean) not in _DIGEST_OF or not _HEX.fullmatch(clean):
        raise InputError(f"not a certificate thumbprint: {digits!r}")
    return PinnedContext.pinned(clean, whom)


def fetch_thumbprint(host: str, port: int = 443) -> str:
    """SHA-256 of the certificate that the server shows now, ``AA:BB:…``, for a person to compare.

    Nothing is sent beyond the handshake. Raises HostUnreachableError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only looks; nothing is trusted by this
    try:
        with (
            socket.create_connection((host, port), timeout=CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as wrapped,
        ):
            certificate = wrapped.getpeercert(binary_form=True) or b""
    except OSError as error:
        raise unreachable(error, f"{host}:{port}") from error
    return show_thumbprint(hashlib.sha256(certificate).hexdigest())
