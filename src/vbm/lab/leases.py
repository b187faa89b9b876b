"""HttpNfcLeases: the right to move a machine's disks over HTTP, kept only while the client reports progress."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vbm.clock import Clock

INITIALIZING = "initializing"
READY = "ready"
DONE = "done"
ERROR = "error"


@dataclass(slots=True, eq=False)
class Device:
    """One file of a lease. ``disk_key`` is 0 for what is no disk."""

    target: str  # disk-0.vmdk
    import_key: str
    disk_key: int
    label: str
    file_size: int
    capacity_bytes: int = 0
    sha1: str = ""
    transferred_bytes: int = 0
    populated_bytes: int = 0


@dataclass(slots=True, eq=False)
class Lease:
    """One lease; ``export`` False means import. ``token`` is in its URLs and is the secret of them."""

    moid: str
    token: str
    export: bool
    machine: str
    timeout_seconds: int
    deadline: float
    address: tuple[str, int]
    snapshot: str = ""
    state: str = INITIALIZING
    percent: int = 0
    error: Any = None  # wire fault
    devices: list[Device] = field(default_factory=list)
    on_end: Callable[[bool], None] | None = None  # told once: whether it ended well
    lock: threading.Lock = field(default_factory=threading.Lock)

    def device(self, target: str) -> Device | None:
        return next((device for device in self.devices if device.target == target), None)


class Leases:
    """All leases. Thread-safe; ``expire`` ends those whose client has gone silent."""

    def __init__(self, clock: Clock, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._lock = threading.Lock()
        self._leases: dict[str, Lease] = {}

    def open(
        self, *, owner: str, export: bool, machine: str, timeout_seconds: int, address: tuple[str, int]
    ) -> Lease:
        token = "52" + secrets.token_hex(15)
        lease = Lease(
            moid=f"session[{owner}]{token}",
            token=token,
            export=export,
            machine=machine,
            timeout_seconds=timeout_seconds,
            deadline=self._clock.monotonic() + timeout_seconds,
            address=address,
        )
        with self._lock:
            self._leases[lease.moid] = lease
        return lease

    def find(self, moid: str) -> Lease | None:
        with self._lock:
            return self._leases.get(moid)

    def by_token(self, token: str) -> Lease | None:
        with self._lock:
            return next((lease for lease in self._leases.values() if lease.token == token), None)

    def holds(self, machine: str) -> bool:
        """Whether a lease of that machine is open: it can't be powered on, moved or destroyed meanwhile."""
        with self._lock:
            return any(
                lease.machine == machine and lease.state in {INITIALIZING, READY}
                for lease in self._leases.values()
            )

    def all(self) -> list[Lease]:
        with self._lock:
            return [*self._leases.values()]

    def ready(self, lease: Lease) -> None:
        with lease.lock:
            if lease.state == INITIALIZING:
                lease.state = READY
                lease.deadline = self._clock.monotonic() + lease.timeout_seconds
        self._changed()

    def renew(self, lease: Lease, percent: int) -> None:
        with lease.lock:
            lease.percent = percent
            lease.deadline = self._clock.monotonic() + lease.timeout_seconds
        self._changed()

    def end(self, lease: Lease, *, error: Any = None, state: str = "") -> bool:
        """Done or failed; False where it had ended already."""
        with lease.lock:
            if lease.state in {DONE, ERROR}:
                return False
            lease.state = state or (ERROR if error is not None else DONE)
            lease.error = error
        if lease.on_end is not None:
            lease.on_end(lease.state == DONE)
        self._changed()
        return True

    def expire(self, fault: Callable[[], Any]) -> list[Lease]:
        """Ends the leases that were not renewed in time; answers them."""
        now = self._clock.monotonic()
        late = [
            lease for lease in self.all() if lease.state in {INITIALIZING, READY} and now > lease.deadline
        ]
        return [lease for lease in late if self.end(lease, error=fault(), state=ERROR)]
