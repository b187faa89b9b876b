"""Host and port as people write them."""

from __future__ import annotations

import re
from typing import Final

from vbm.errors import InputError

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?")
_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")


def parse_address(text: str, default_port: int = 443) -> tuple[str, int]:
    """(host, port) of ``host``, ``host:port``, ``[v6]:port`` or a bare IPv6 address. Raises InputError."""
    text = text.strip()
    if "://" in text or "/" in text:
        raise InputError(
            f"not a host: {text!r}", hint="give the host's name or address alone, such as vc.example.com"
        )
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if closed and (rest.startswith(":") or not rest) else "?"
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    pattern = _IPV6 if ":" in host else _HOST
    if pattern.fullmatch(host) is None:
        raise InputError(f"not a host name or address: {text!r}")
    if not port:
        return host, default_port
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise InputError(f"not a port: {port!r} in {text!r}", hint="a port is a number from 1 to 65535")
    return host, int(port)
