"""Addresses that the web may make this server call: none on this machine or link-local, unless that is allowed.

The command line may add any. Source: OWASP, server-side request forgery.
"""

from __future__ import annotations

import socket
from typing import Final
from urllib.parse import parse_qs, urlsplit

from vbm.errors import InputError, NotAllowedError
from vbm.notifications.webhook import may_be_called
from vbm.web.options import WebOptions

_OTHER_HOSTS: Final = (
    "smtp",
    "host",
    "hostname",
    "proxy",
)  # what an Apprise address may name besides its own host


class AddressRefusedError(NotAllowedError):
    """The web may not make this server call such an address."""

    code = "address-refused"


def check(options: WebOptions, host: str, port: int) -> None:
    """Raises AddressRefusedError. A name that can't be resolved is left to who connects."""
    if options.allow_loopback:
        return
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return
    for *_, address in found:
        if not may_be_called(str(address[0])):
            raise AddressRefusedError(
                f"{host} leads to {address[0]}, on this machine or link-local",
                hint="add it at the command line, or set VBM_ALLOW_LOOPBACK=1 for a lab",
            )


def check_url(options: WebOptions, url: str) -> None:
    """Every host that a channel's address names. Raises InputError, AddressRefusedError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        query = {name.lower(): values for name, values in parse_qs(parts.query).items()}
    except ValueError as error:
        raise InputError(
            "the channel's address is none", hint="write it like https://host/path or mailtos://…"
        ) from error
    others = [value.rpartition("/")[2] for name in _OTHER_HOSTS for value in query.get(name, ())]
    for each in [host, *others]:
        if each:
            check(options, each, port or 443)
