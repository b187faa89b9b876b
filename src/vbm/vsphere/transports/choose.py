"""Which transport reads a snapshot, and why: the first of those known that can read any of its disks.

Order: datastore-https, since it reads single ranges; nfc, since it works everywhere. Further ones come as
packages: an entry point of the group ``vbm.transports`` names an object with the shape of ``Kind``, which is
asked after the built-in ones, or first where somebody prefers it by name. That is the place of a transport over
``nbdkit`` with VMware's VDDK, which may not be shipped with this product.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from vbm.cancel import CancelToken
from vbm.errors import CancelledError, InputError, VbmError
from vbm.ids import DiskKey
from vbm.units import SECTOR
from vbm.vsphere.model import VirtualDisk, VirtualMachine, VmSnapshot
from vbm.vsphere.session import Session
from vbm.vsphere.transports import datastore_https, nfc
from vbm.vsphere.transports.base import Transport, TransportUnsuitableError

_log = logging.getLogger(__name__)
ENTRY_POINTS: Final = "vbm.transports"


class Kind(Protocol):
    """A transport that may be chosen."""

    @property
    def name(self) -> str: ...

    @property
    def probes(self) -> bool:
        """Whether opening a disk is cheap, so that it may be tried before the choice is made."""

    def unsuitable(self, disk: VirtualDisk) -> str:
        """Why it can't read the disk, from what is known without asking; "" where it may."""

    def open(self, session: Session, vm: VirtualMachine, snapshot: VmSnapshot) -> Transport: ...


@dataclass(frozen=True, slots=True)
class _BuiltIn:
    name: str
    probes: bool
    unsuitable: Callable[[VirtualDisk], str]
    make: Callable[[Session, VirtualMachine, VmSnapshot], Transport]

    def open(self, session: Session, vm: VirtualMachine, snapshot: VmSnapshot) -> Transport:
        return self.make(session, vm, snapshot)


BUILT_IN: Final[tuple[Kind, ...]] = (
    _BuiltIn(datastore_https.NAME, True, datastore_https.unsuitable, datastore_https.DatastoreHttps),
    _BuiltIn(nfc.NAME, False, lambda _disk: "", nfc.Nfc),
)


def known() -> dict[str, Kind]:
    """Every transport by name, built-in ones first."""
    found = {kind.name: kind for kind in BUILT_IN}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        found.setdefault(entry.name, entry.load())
    return found


def open_transport(
    session: Session,
    vm: VirtualMachine,
    snapshot: VmSnapshot,
    disk_keys: Collection[DiskKey],
    *,
    prefer: str | None = None,
    cancel: CancelToken | None = None,
) -> tuple[Transport, str]:
    """A transport that can read at least one of those disks, and the reason in words, which is also logged.

    The reason names the disks that it can't read: ``open`` refuses them, and they are to be read by another one,
    at last by nfc. ``prefer`` names the only one to be considered. Raises InputError for an unknown name,
    TransportUnsuitableError with each one's reasons where none suits any disk.
    """
    kinds = known()
    if prefer is not None and prefer not in kinds:
        raise InputError(f"no transport {prefer!r}", hint=f"there are: {', '.join(kinds)}")
    disks = [disk for disk in snapshot.disks if disk.key in disk_keys]
    passed: list[str] = []
    for kind in [kinds[prefer]] if prefer is not None else kinds.values():
        transport = kind.open(session, vm, snapshot)
        try:
            reasons = _judge(kind, transport, disks, cancel or CancelToken())
        except BaseException:
            transport.close()
            raise
        if len(reasons) < len(disks) or not disks:
            reason = "; ".join([f"{kind.name}: {_why(kind, disks, prefer)}", *reasons, *passed])
            _log.info("%s is read by %s", vm.name, reason)
            return transport, reason
        transport.close()
        passed += [f"not {kind.name}: {reason}" for reason in reasons]
    raise TransportUnsuitableError(
        f"no transport can read {vm.name}: {'; '.join(passed)}",
        hint="leave the choice of the transport to the product" if prefer is not None else "",
    )


def _why(kind: Kind, disks: Collection[VirtualDisk], prefer: str | None) -> str:
    if prefer is not None:
        return "it was asked for"
    types = sorted({disk.datastore_type or "a type not told" for disk in disks})
    return f"reads ranges of files on {', '.join(types)}" if kind.probes else "reads whatever a disk lies on"


def _judge(
    kind: Kind, transport: Transport, disks: Collection[VirtualDisk], cancel: CancelToken
) -> list[str]:
    """Why which disks can't be read. What may pass is raised, not judged."""
    reasons = []
    for disk in disks:
        why_not = kind.unsuitable(disk)
        if not why_not and kind.probes:
            why_not = _probe(transport, disk, cancel)
        if why_not:
            reasons.append(f"{disk.label}: {why_not}")
    return reasons


def _probe(transport: Transport, disk: VirtualDisk, cancel: CancelToken) -> str:
    """Why the first sector can't be read, "" where it can."""
    try:
        reader = transport.open(disk.key, cancel)
        reader.readinto(0, bytearray(min(SECTOR, reader.capacity_bytes)))
        reader.close()
    except VbmError as error:
        if not error.permanent or isinstance(error, CancelledError):
            raise
        return error.message
    return ""
