"""Whether a disk's changed areas may be relied on, or all of it must be read, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from vbm.ids import ChangeId
from vbm.units import format_size
from vbm.vsphere.model import VirtualDisk


class ParentDisk(Protocol):
    """A disk as the previous restore point's manifest shows it."""

    @property
    def disk_uuid(self) -> str | None: ...
    @property
    def capacity_bytes(self) -> int | None: ...
    @property
    def change_id(self) -> ChangeId | None: ...


@dataclass(frozen=True, slots=True)
class Decision:
    """``change_id``: of the parent, for an incremental. ``reset_cbt``: tracking can't be trusted from here on."""

    mode: Literal["full", "incremental"]
    reason: str
    change_id: ChangeId | None = None
    reset_cbt: bool = False


def decide(
    disk: VirtualDisk, parent: ParentDisk | None, *, random_read: bool = True, why_full: str = ""
) -> Decision:
    """``why_full``: what speaks against an incremental whatever the disk: asked for, no parent, a revert."""
    reason = why_full or _why_full(disk, parent, random_read=random_read)
    if reason or parent is None or parent.change_id is None:
        return Decision("full", reason, reset_cbt=_grew_tracked(disk, parent))
    return Decision("incremental", "changed areas since the previous restore point", parent.change_id)


def _why_full(disk: VirtualDisk, parent: ParentDisk | None, *, random_read: bool) -> str:
    if parent is None:
        return "the disk was added since the previous restore point"
    if not random_read:
        return "this transport can only read whole disks"
    if disk.uuid.lower() != (parent.disk_uuid or "").lower():
        return "the disk was replaced: its UUID differs from the previous restore point's"
    if disk.capacity_bytes != parent.capacity_bytes:
        before, now = format_size(parent.capacity_bytes or 0), format_size(disk.capacity_bytes)
        return f"the disk's capacity changed from {before} to {now}"
    return _why_untracked(disk.change_id, parent.change_id)


def _why_untracked(now: ChangeId | None, before: ChangeId | None) -> str:
    if now is None:
        return "changed block tracking is not active for this disk"
    if before is None:
        return "the previous restore point has no change id that can be relied on"
    if tracking(now) != tracking(before):
        return "changed block tracking was begun anew since the previous restore point"
    return ""


def _grew_tracked(disk: VirtualDisk, parent: ParentDisk | None) -> bool:
    """Tracking that went on through a growth is known to report wrong areas (KB 2090639)."""
    if parent is None or disk.change_id is None or parent.change_id is None:
        return False
    return disk.capacity_bytes != parent.capacity_bytes and tracking(disk.change_id) == tracking(
        parent.change_id
    )


def tracking(change_id: ChangeId) -> str:
    """What names one unbroken stretch of tracking: the change id without its sequence number."""
    return change_id.rpartition("/")[0].strip().lower()
