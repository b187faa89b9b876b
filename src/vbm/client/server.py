"""Which server, by what key, and how its certificate is known."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from vbm.errors import InputError


@dataclass(frozen=True, slots=True)
class Server:
    """``thumbprint``: SHA-256 of its certificate, trusted alone; ``ca_file``: PEM; neither: what the system trusts."""

    url: str
    api_key: str = field(repr=False)
    thumbprint: str = ""
    ca_file: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.username:
            raise InputError(
                f"not the address of a server: {self.url!r}",
                hint="write it like https://vbm.example.org:8443",
            )
        if not self.api_key or not self.api_key.isascii() or not self.api_key.isprintable():
            raise InputError(
                "there is no API key for the server",
                hint="set VBM_API_KEY, or VBM_API_KEY_FILE to a file that holds it; vbm api-key create makes one",
            )
        if self.thumbprint and self.ca_file:
            raise InputError("a server is trusted by its thumbprint or by a CA file: give one of them")

    @classmethod
    def from_environment(cls, url: str = "", environment: Mapping[str, str] = os.environ) -> Server:
        """``VBM_SERVER``, ``VBM_API_KEY`` or ``…_KEY_FILE``, ``VBM_SERVER_THUMBPRINT`` or ``VBM_SERVER_CA_FILE``."""
        return cls(
            url=url or environment.get("VBM_SERVER", ""),
            api_key=environment.get("VBM_API_KEY", "") or _from_file(environment.get("VBM_API_KEY_FILE", "")),
            thumbprint=environment.get("VBM_SERVER_THUMBPRINT", ""),
            ca_file=environment.get("VBM_SERVER_CA_FILE", ""),
        )


def _from_file(name: str) -> str:
    if not name:
        return ""
    try:
        return Path(name).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise InputError(f"the file of the API key {name} can't be read: {error}") from error
