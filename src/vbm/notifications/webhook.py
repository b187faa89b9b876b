"""A generic webhook: one JSON document by POST, signed, to an address that was checked.

The name is resolved once and the connection made to that very address, so that a name that resolves to
something else a moment later can't lead to this machine or the link-local range (SSRF, DNS rebinding).
Redirects are not followed. Signature: ``X-VBM-Signature: sha256=HMAC(secret, timestamp + "." + body)`` with
``X-VBM-Timestamp`` in seconds, so that a receiver can refuse old messages.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import json
import socket
import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from vbm.errors import InputError
from vbm.notifications.delivery import DeliveryFailedError, DeliveryRefusedError
from vbm.notifications.events import Event

TIMEOUT_SECONDS: Final = 15.0
_RETRY_STATUS: Final = {408, 425, 429}


@dataclass(frozen=True, slots=True)
class WebhookSender:
    """``https://`` anywhere; ``http://`` and addresses of this machine only where loopback is allowed."""

    url: str = field(repr=False)
    secret: str = field(default="", repr=False)
    allow_loopback: bool = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        plain = parts.scheme == "http" and self.allow_loopback
        if (parts.scheme != "https" and not plain) or not parts.hostname or parts.username:
            raise InputError(
                "not a webhook address", hint="use https://host/path, without user name or password"
            )

    def send(self, event: Event) -> None:
        """POST once. 2xx is delivered; 408, 425, 429 and 5xx may be tried again; anything else may not."""
        body = json.dumps(event.to_json(), ensure_ascii=False).encode()
        try:
            status = self._post(body, self._headers(event, body))
        except (OSError, http.client.HTTPException) as error:
            raise DeliveryFailedError(f"webhook at {self._host}: {error}") from error
        if 200 <= status < 300:
            return
        if status >= 500 or status in _RETRY_STATUS:
            raise DeliveryFailedError(f"webhook at {self._host} answered {status}")
        raise DeliveryRefusedError(
            f"webhook at {self._host} answered {status}", hint="check its address and its secret"
        )

    @property
    def _host(self) -> str:
        return urlsplit(self.url).hostname or ""

    def _headers(self, event: Event, body: bytes) -> dict[str, str]:
        stamp = str(int(event.time.timestamp()))
        headers = {"Content-Type": "application/json", "User-Agent": "vbm", "X-VBM-Timestamp": stamp}
        if self.secret:
            digest = hmac.new(self.secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
            headers["X-VBM-Signature"] = f"sha256={digest}"
        return headers

    def _post(self, body: bytes, headers: dict[str, str]) -> int:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(self._host, parts.port or 443, timeout=TIMEOUT_SECONDS)
        connection.sock = self._connect(parts.port or (443 if parts.scheme == "https" else 80))
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(connection.sock, server_hostname=self._host)
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", path, body, {"Host": parts.netloc, **headers})
            return connection.getresponse().status
        finally:
            connection.close()

    def _connect(self, port: int) -> socket.socket:
        found = socket.getaddrinfo(self._host, port, type=socket.SOCK_STREAM)
        for _, _, _, _, address in found:
            if not self.allow_loopback and not may_be_called(str(address[0])):
                raise DeliveryRefusedError(
                    f"webhook at {self._host} leads to {address[0]}, which is not called",
                    hint="use an address outside this machine",
                )
        return socket.create_connection((str(found[0][4][0]), port), TIMEOUT_SECONDS)


def may_be_called(address: str) -> bool:
    """Not loopback, link-local, unspecified or multicast, in either family or one mapped into the other."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return not (ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast)
