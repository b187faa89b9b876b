"""Changed block tracking: which areas of a disk were written since an earlier snapshot.

Nothing here is taken on trust: an answer that does not fit together makes CbtUnusableError, which the planner
turns into a full read of that disk. A missing area would be silent data loss; a full read is only slow.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from vbm.cancel import CancelToken
from vbm.disk.extents import Extent
from vbm.errors import TransientError, VbmError
from vbm.ids import ChangeId, MoRef, new_id
from vbm.units import KIB
from vbm.vsphere import snapshots, tasks
from vbm.vsphere.faults import ObjectGoneError, fault_keys, fault_text
from vbm.vsphere.inventory import get_vm
from vbm.vsphere.model import VirtualDisk, VirtualMachine
from vbm.vsphere.properties import properties_of
from vbm.vsphere.session import Session
from vbm.vsphere.soap import vim

ALLOCATED: Final = ChangeId("*")
_TRACKED: Final = ("flat", "sparse", "se-sparse", "rdm-virtual")
_SMALLEST_PAGE: Final = 64 * KIB  # the grain: a sane page reaches further, save the disk's last
_log = logging.getLogger(__name__)


class CbtUnusableError(VbmError):
    """The changed areas of this disk can't be known: read all of it. ``reason`` is for people."""

    code = "cbt-unusable"

    def __init__(self, disk: VirtualDisk, reason: str) -> None:
        super().__init__(f"changed areas of {disk.label} can't be used: {reason}", disk_key=disk.key)
        self.reason = reason


# -- switching it on and off


def ensure_enabled(session: Session, vm: VirtualMachine, cancel: CancelToken) -> bool:
    """Whether tracking is switched on now, for all disks that can be tracked.

    It is switched on only while the VM has no snapshot (else the areas known as allocated would be wrong). On a
    running VM it takes effect at the next stun: the snapshot that the backup makes anyway.
    """
    if not vm.cbt_supported:
        return False
    untracked = [d for d in vm.disks if d.backing in _TRACKED and d.change_id is None and _snapshots_hold(d)]
    if vm.cbt_enabled and not untracked:
        return True
    if vm.snapshot_names:
        return vm.cbt_enabled
    _switch(session, vm, on=True, cancel=cancel)
    values = properties_of(session, session.vm(vm.moref), ["config.changeTrackingEnabled"])
    return bool(values.get("config.changeTrackingEnabled"))


def reset(session: Session, vm: VirtualMachine, cancel: CancelToken) -> None:
    """Begin tracking anew: every earlier change id becomes unusable. Only while the VM has no snapshot.

    The stun between off and on is a snapshot of ours, removed at once; the one that makes the new tracking
    effective is the next backup's own. Raises CbtResetError.
    """
    if vm.snapshot_names:
        raise CbtResetError(
            f"changed block tracking of {vm.name} can't be reset while it has snapshots",
            hint=f"remove them first: {', '.join(vm.snapshot_names[:3])}",
        )
    _switch(session, vm, on=False, cancel=cancel)
    if vm.power_state == "poweredOn":
        _stun(session, vm, cancel)
    _switch(session, vm, on=True, cancel=cancel)


class CbtResetError(VbmError):
    code = "cbt-reset-refused"


def _snapshots_hold(disk: VirtualDisk) -> bool:
    return not disk.mode.startswith("independent")


def _switch(session: Session, vm: VirtualMachine, *, on: bool, cancel: CancelToken) -> None:
    reference = session.vm(vm.moref)
    spec = vim.vm.ConfigSpec(changeTrackingEnabled=on)
    task = session.call(lambda _c: reference.ReconfigVM_Task(spec))
    tasks.wait_for(session, task, cancel=cancel)


def _stun(session: Session, vm: VirtualMachine, cancel: CancelToken) -> None:
    name = f"{snapshots.SNAPSHOT_PREFIX}cbt-reset-{new_id(session.clock.now())}"
    try:
        snapshots.create(
            session, vm, name, "made to reset changed block tracking", quiesce=False, cancel=cancel
        )
    finally:
        snapshots.remove(session, vm.moref, name)


def missing_change_ids(session: Session, vm: MoRef) -> list[VirtualDisk]:
    """Disks that could be tracked but have no change id now: their next backups read all."""
    disks = get_vm(session, vm).disks
    return [d for d in disks if d.backing in _TRACKED and _snapshots_hold(d) and d.change_id is None]


# -- asking


def changed_areas(
    session: Session, vm: MoRef, snapshot: MoRef, disk: VirtualDisk, change_id: ChangeId
) -> list[Extent]:
    """What was written after ``change_id``'s snapshot and before ``snapshot``: ascending, disjoint, in bytes.

    ``disk`` is the disk as ``snapshot`` shows it. Raises CbtUnusableError with the reason, and TransientError where
    the server can't be reached.
    """
    if disk.change_id is None:
        raise CbtUnusableError(disk, "the disk is not tracked at this snapshot")
    if tracking_of(change_id) != tracking_of(disk.change_id):
        raise CbtUnusableError(disk, "tracking was begun anew since the last restore point")
    return _query(session, vm, snapshot, disk, change_id)


def allocated_areas(session: Session, vm: MoRef, snapshot: MoRef, disk: VirtualDisk) -> list[Extent] | None:
    """What of a thin disk on VMFS is allocated at the snapshot; the rest reads as zeros. None: read all.

    Answered only where it is known to be right: tracking runs, the snapshot froze the base file itself (older
    snapshots would have distorted the map), vSphere 6.7 or newer (older ones lose areas: KB 2090639, KB 2136854).
    """
    trusted = (
        disk.change_id is not None
        and disk.datastore_type == "VMFS"
        and disk.backing == "flat"
        and disk.chain_depth == 1
        and _version(session) >= (6, 7)
    )
    if not trusted:
        return None
    try:
        return _query(session, vm, snapshot, disk, ALLOCATED)
    except CbtUnusableError as error:
        _log.info("allocated areas of %s are not known: %s", disk.label, error.reason)
        return None


def tracking_of(change_id: str) -> str:
    """The part before the last slash: another one means that tracking was begun anew."""
    return change_id.rpartition("/")[0].strip().lower()


def _version(session: Session) -> tuple[int, ...]:
    parts = (session.about.get("api_version") or session.about.get("version") or "0").split(".")
    return tuple(int(p) if p.isdigit() else 0 for p in parts)


def _query(
    session: Session, vm: MoRef, snapshot: MoRef, disk: VirtualDisk, change_id: ChangeId
) -> list[Extent]:
    areas: list[Extent] = []
    offset = 0
    pages_left = disk.capacity_bytes // _SMALLEST_PAGE + 16
    while offset < disk.capacity_bytes:
        page = _page(session, disk, _ask(session, vm, snapshot, disk.key, offset, change_id))
        offset = _take(disk, page, offset, areas)
        pages_left -= 1
        if pages_left < 0:
            raise CbtUnusableError(disk, "the pages of the answer don't come to an end")
    return areas


def _ask(
    session: Session, vm: MoRef, snapshot: MoRef, key: int, offset: int, change_id: str
) -> Callable[[Any], Any]:
    reference, at = session.vm(vm), session.snapshot(snapshot)
    return lambda _content: reference.QueryChangedDiskAreas(
        snapshot=at, deviceKey=key, startOffset=offset, changeId=change_id
    )


def _page(session: Session, disk: VirtualDisk, ask: Callable[[Any], Any]) -> Any:
    try:
        return session.read(ask)
    except (TransientError, ObjectGoneError):
        raise
    except VbmError as error:
        raise CbtUnusableError(disk, _why(error)) from error


def _take(disk: VirtualDisk, page: Any, asked: int, areas: list[Extent]) -> int:
    """Append the page's areas, each checked, and answer the offset that the next page begins at."""
    start, length = page.startOffset, page.length
    if start != asked or length is None or length <= 0:
        raise CbtUnusableError(disk, f"asked from byte {asked}, it answered from {start} for {length} bytes")
    end = start + length
    if end > disk.capacity_bytes:
        raise CbtUnusableError(disk, f"it speaks of {end} bytes, the disk has {disk.capacity_bytes}")
    for area in page.changedArea or ():
        last = areas[-1].end if areas else 0
        if area.length <= 0 or area.start < max(asked, last) or area.start + area.length > end:
            raise CbtUnusableError(disk, f"an area at byte {area.start} does not fit into its page")
        if areas and last == area.start:
            areas[-1] = Extent(areas[-1].start, areas[-1].length + area.length)
        else:
            areas.append(Extent(area.start, area.length))
    return int(end)


_REASONS: Final = (
    ("noTrack", "the host does not track changes of this disk"),
    ("noEpoch", "the host can't tell what is allocated"),
    ("cannotGetChanges", "the host's record of changes is damaged"),
)


def _why(error: VbmError) -> str:
    fault = error.__cause__
    if fault is None:
        return error.message
    keys = " ".join(fault_keys(fault))
    for part, reason in _REASONS:
        if part in keys:
            return f"{reason} ({part})"
    invalid = getattr(fault, "invalidProperty", None)
    if invalid:
        return f"vSphere refuses the {invalid} ({fault_text(fault)})"
    return error.message if error.code == "no-privilege" else fault_text(fault)
