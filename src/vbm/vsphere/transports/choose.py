"""Which transport reads a snapshot, and why: the first of those known that can read all of its disks.

Order: datastore-https, since it reads single ranges; nfc, since it works everywhere. Further ones come as
packages: an entry point of the group ``vbm.transports`` names an object with the shape of ``Kind``, which is
asked after the built-in ones, or first where somebody prefers it by name. That is the place of a transport over
``nbdkit`` with VMware's VDDK, which may not be shipped with this product.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from vbm.cancel import CancelToken
from vbm.errors import InputError, NotAllowedError, NotFoundError, VbmError
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
    """A transport that can read all those disks, and the reason in words, which is also logged.

    ``prefer`` names the only one to be considered. Raises InputError for an unknown name,
    TransportUnsuitableError with each one's reason where none suits.
    """
    kinds = known()
    if prefer is not None and prefer not in kinds:
        raise InputError(f"no transport {prefer!r}", hint=f"there are: {', '.join(kinds)}")
    disks = [disk for disk in snapshot.disks if disk.key in disk_keys]
    passed: list[str] = []
    for kind in [kinds[prefer]] if prefer is not None else kinds.values():
        why_not = next((f"{d.label}: {r}" for d in disks if (r := kind.unsuitable(d))), "")
        transport = None if why_not else kind.open(session, vm, snapshot)
        if transport is not None and kind.probes:
            why_not = _probe(transport, disks, cancel or CancelToken())
        if transport is not None and not why_not:
            reason = "; ".join([f"{kind.name}: {_why(kind, disks, prefer)}", *passed])
            _log.info("%s is read by %s", vm.name, reason)
            return transport, reason
        passed.append(f"not {kind.name}: {why_not}")
    raise TransportUnsuitableError(
        f"no transport can read {vm.name}: {'; '.join(passed)}",
        hint="let the transport be chosen" if prefer is not None else "",
    )


def _why(kind: Kind, disks: Collection[VirtualDisk], prefer: str | None) -> str:
    if prefer is not None:
        return "it was asked for"
    types = sorted({disk.datastore_type or "a type not told" for disk in disks})
    return f"reads parts of files on {', '.join(types)}" if kind.probes else "reads whatever a disk lies on"


def _probe(transport: Transport, disks: Collection[VirtualDisk], cancel: CancelToken) -> str:
    """Why a disk can't be read after all; closes the transport then. What may pass is raised, not judged."""
    try:
        for problem in _problems(transport, disks, cancel):
            transport.close()
            return problem
    except BaseException:
        transport.close()
        raise
    return ""


def _problems(transport: Transport, disks: Collection[VirtualDisk], cancel: CancelToken) -> Iterator[str]:
    for disk in disks:
        try:
            reader = transport.open(disk.key, cancel)
            reader.readinto(0, bytearray(min(SECTOR, reader.capacity_bytes)))
        except (TransportUnsuitableError, NotFoundError, NotAllowedError, InputError) as error:
            yield f"{disk.label}: {_reason(error)}"


def _reason(error: VbmError) -> str:
    return error.message
