"""The server's own certificate: taken from its files anew as soon as they are others, without a restart."""

from __future__ import annotations

import logging
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from vbm.errors import InputError
from vbm.services.condition import Check

_SOON: Final = timedelta(days=14)
_log = logging.getLogger(__name__)


class Certificate:
    """What whoever connects is shown: the newest pair of files that fits together. For one event loop.

    Looked at with each new connection; those that are open stay as they are. Files that can't be used, such as half
    of a renewal, change nothing: they are told of once, and looked at again when they change. At the start they
    raise InputError.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = certificate, key
        self._mark = self._marked()
        self._newest = self._loaded()
        self._problem = ""
        self._ends = _end_of(certificate)

    def context(self) -> ssl.SSLContext:
        """To serve with."""
        found = self._loaded()
        found.sni_callback = self._show
        return found

    def check(self, now: datetime) -> Check:
        """How it stands, in words."""
        hint = f"Renew {self._files[0]}: the new one is taken without a restart."
        if self._problem:
            return Check("Certificate", False, f"A new certificate can't be used: {self._problem}.", hint)
        days = (self._ends - now).days
        left = f"{days} days" if days != 1 else "one day"
        if self._ends <= now:
            return Check("Certificate", False, f"It ended on {self._ends:%Y-%m-%d}.", hint)
        return Check("Certificate", now + _SOON < self._ends, f"It ends in {left}.", hint)

    def _show(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        mark = self._marked()
        if mark != self._mark:
            self._mark = mark
            self._renew()
        connection.context = self._newest

    def _renew(self) -> None:
        try:
            self._newest, self._ends = self._loaded(), _end_of(self._files[0])
        except InputError as error:
            self._problem = error.message
            _log.warning("%s; the one before stays in use", error.message)
        else:
            self._problem = ""
            _log.info("a new certificate is in use, until %s", self._ends)

    def _marked(self) -> tuple[Any, ...]:
        """Another one whenever a file may hold something else."""
        try:
            return tuple((s.st_ino, s.st_mtime_ns, s.st_size) for s in (f.stat() for f in self._files))
        except OSError as error:
            return (error.errno,)

    def _loaded(self) -> ssl.SSLContext:
        certificate, key = self._files
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.set_alpn_protocols(["http/1.1"])
        try:
            made.load_cert_chain(certificate, key, password=_none)
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                f"the certificate {certificate} and the key {key} can't be used: {error}",
                hint="both are PEM files; the certificate first, then those of its issuers; the key without a password",
            ) from error
        return made


def _none() -> bytes:
    """Instead of a question at the terminal for the password of a key that has one."""
    return b""


def _end_of(certificate: Path) -> datetime:
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        raise InputError(f"the certificate {certificate} can't be read: {error}") from error
