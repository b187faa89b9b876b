"""A lease on a VM's disks: the right to move them over HTTP, kept only while somebody reports progress.

vSphere ends a lease after some minutes of silence (``leaseTimeout``) and deletes what was half imported; so a
thread of the lease's own reports, whatever the transfer is doing. Every way out ends it: ``complete`` or ``abort``.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlsplit

from vbm.cancel import CancelToken
from vbm.errors import TransientError, VbmError
from vbm.vsphere.faults import translate
from vbm.vsphere.model import Endpoint
from vbm.vsphere.properties import properties_of
from vbm.vsphere.session import Session

_log = logging.getLogger(__name__)
_POLLS: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
_LONGEST_SILENCE: Final = 20.0
_DEFAULT_TIMEOUT: Final = 300
_JOIN_SECONDS: Final = 5.0


class LeaseFailedError(VbmError):
    """vSphere ended the lease with an error, or would not make it ready."""

    code = "lease-failed"


class LeaseLostError(TransientError):
    """The lease ended under the transfer: what was moved under it is gone."""

    code = "lease-lost"


@dataclass(frozen=True, slots=True)
class LeaseDevice:
    """One file of a lease. ``thumbprint`` is of the host that the URL names, as vSphere tells it; may be empty."""

    key: str
    import_key: str
    url: str
    thumbprint: str
    is_disk: bool
    target: str


@dataclass(frozen=True, slots=True)
class LeaseAddress:
    """Where a device's bytes go or come from. An empty thumbprint: the endpoint's own rule of trust."""

    host: str
    port: int
    path: str
    thumbprint: str


def address_of(device: LeaseDevice, endpoint: Endpoint) -> LeaseAddress:
    """``*`` as host stands for the endpoint itself. Raises LeaseFailedError for what is not HTTPS."""
    parts = urlsplit(device.url)
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise LeaseFailedError(
            f"a lease names an address that makes no sense: {device.url[:200]!r}"
        ) from error
    if parts.scheme != "https" or not host:
        raise LeaseFailedError(f"a lease names an address that is not HTTPS: {device.url[:200]!r}")
    same = host == "*"
    host = endpoint.host if same else host
    port = port or (endpoint.port if same else 443)
    same = same or (host.lower(), port) == (endpoint.host.lower(), endpoint.port)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return LeaseAddress(host, port, path, "" if same else device.thumbprint)


class NfcLease:
    """A lease that is ready. Thread-safe. As a context manager: completed, or aborted after an exception."""

    def __init__(self, session: Session, reference: Any, info: Any) -> None:
        self._session = session
        self._reference = reference
        self.devices = tuple(_device(url) for url in info.deviceUrl or ())
        self.entity = str(info.entity._moId) if info.entity is not None else ""
        self._every_seconds = min(_LONGEST_SILENCE, (info.leaseTimeout or _DEFAULT_TIMEOUT) / 4)
        self._percent = 0
        self._lost: VbmError | None = None
        self._stop = threading.Event()
        self._ended = False
        self._keeper = threading.Thread(target=self._keep, name="nfc-lease", daemon=True)
        self._keeper.start()

    @classmethod
    def when_ready(cls, session: Session, reference: Any, cancel: CancelToken) -> NfcLease:
        """Waits while the lease is being made. Raises the error that ended it; a cancel aborts it."""
        try:
            info = _wait(session, reference, cancel)
        except BaseException:
            _abort(session, reference)
            raise
        return cls(session, reference, info)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_exc: object) -> None:
        if kind is None:
            self.complete()
        else:
            self.abort()

    def progress(self, percent: int) -> None:
        """Told to vSphere at the next report, 0 to 99: 100 is for the end."""
        self._percent = max(0, min(99, percent))

    @property
    def lost(self) -> bool:
        return self._lost is not None

    def check(self) -> None:
        """Raises LeaseLostError where vSphere has ended the lease."""
        if self._lost is not None:
            raise LeaseLostError(
                f"{self._session.where} ended the transfer: {self._lost.message}"
            ) from self._lost

    def manifest(self) -> list[Any]:
        """What the server says it received; empty where it does not tell."""
        try:
            return list(self._session.call(lambda _c: self._reference.HttpNfcLeaseGetManifest()) or ())
        except VbmError as error:
            _log.debug("no manifest of the lease: %s", error.message)
            return []

    def complete(self) -> None:
        """The transfer is whole. Raises LeaseLostError where vSphere does not agree."""
        if not self._end():
            return
        try:
            self._session.call(lambda _c: self._reference.HttpNfcLeaseComplete())
        except VbmError as error:
            _abort(self._session, self._reference)
            raise LeaseLostError(f"{self._session.where} ended the transfer: {error.message}") from error

    def abort(self) -> None:
        """Give up: what was imported is deleted by vSphere. Never raises; nothing after ``complete``."""
        if self._end():
            _abort(self._session, self._reference)

    def _end(self) -> bool:
        """Stop reporting; False where the lease was ended before."""
        if self._ended:
            return False
        self._ended = True
        self._stop.set()
        self._keeper.join(_JOIN_SECONDS)  # it may hang in a call to a server that is gone
        return True

    def _keep(self) -> None:
        wait_seconds = 0.0
        while not self._stop.wait(wait_seconds):
            wait_seconds = self._every_seconds
            try:
                self._session.call(lambda _c: self._reference.HttpNfcLeaseProgress(self._percent))
            except VbmError as error:
                if error.permanent:
                    self._lost = error
                    return
                wait_seconds = self._every_seconds / 4
                _log.info("the lease could not be kept alive just now: %s", error.message)


def _wait(session: Session, reference: Any, cancel: CancelToken) -> Any:
    polls = 0
    while True:
        cancel.check()
        values = properties_of(session, reference, ["state", "error", "info"])
        state = str(values.get("state") or "initializing")
        if state == "ready":
            return values["info"]
        if state != "initializing":
            raise _failure(session, values.get("error"), state)
        cancel.wait(_POLLS[min(polls, len(_POLLS) - 1)])
        polls += 1


def _failure(session: Session, fault: Any, state: str) -> VbmError:
    fault = getattr(fault, "fault", fault)
    if isinstance(fault, BaseException):
        return translate(fault, session.where)
    return LeaseFailedError(f"{session.where}: the lease is {state} without saying why")


def _abort(session: Session, reference: Any) -> None:
    try:
        session.call(lambda _c: reference.HttpNfcLeaseAbort())
    except VbmError as error:
        _log.debug("a lease was not aborted, it ends by itself: %s", error.message)


def _device(url: Any) -> LeaseDevice:
    return LeaseDevice(
        key=url.key or "",
        import_key=url.importKey or "",
        url=url.url or "",
        thumbprint=url.sslThumbprint or "",
        is_disk=url.disk is not False,
        target=url.targetId or "",
    )
