"""What of a VM can be backed up, disk by disk, and what somebody should know before it is."""

from __future__ import annotations

from typing import Final

from vbm.units import format_size
from vbm.vsphere.model import DiskVerdict, VirtualDisk, VirtualMachine

SNAPSHOT_LIMIT: Final = 32  # levels that vSphere allows
_DEEP_CHAIN: Final = 24
_FOREIGN: Final = (
    "veeam backup temporary snapshot",
    "consolidate helper",
    "nbu_snap",
    "nakivo",
    "xo_",
    "rp4vm",
)


def check(vm: VirtualMachine) -> list[DiskVerdict]:
    """A verdict on each disk, by key. An included disk may still carry a remark in ``reason``."""
    if vm.skip_reason:
        return [DiskVerdict(d, included=False, reason=vm.skip_reason) for d in vm.disks]
    return [_judge(disk) for disk in vm.disks]


def _judge(disk: VirtualDisk) -> DiskVerdict:
    refusal = _refusal(disk)
    if refusal:
        return DiskVerdict(disk, included=False, reason=refusal[0], hint=refusal[1])
    if disk.encrypted:
        return DiskVerdict(
            disk,
            included=True,
            reason="encrypted by vSphere: it is read decrypted through NFC, whole each time",
            hint="use an encrypted repository",
        )
    return DiskVerdict(disk, included=True)


def _refusal(disk: VirtualDisk) -> tuple[str, str] | None:  # noqa: PLR0911 - one rule a line
    if disk.backing == "rdm-physical":
        return (
            "raw device mapping in physical mode: vSphere can't make a snapshot of it",
            "use virtual compatibility mode or a virtual disk, or back it up inside the guest",
        )
    if disk.mode.startswith("independent"):
        return (
            f"disk mode {disk.mode}: snapshots leave it out",
            "make the disk dependent (power off, edit the disk's mode), or back it up inside the guest",
        )
    if disk.mode in ("nonpersistent", "undoable", "append"):
        return (f"disk mode {disk.mode}: its changes are not kept", "make the disk persistent")
    if disk.sharing == "sharingMultiWriter":
        return ("shared with other VMs (multi-writer): no snapshot is possible", _SHARED_HINT)
    if disk.bus_sharing != "noSharing":
        return (
            f"bus sharing ({disk.bus_sharing}) on its controller: no snapshot is possible",
            _SHARED_HINT,
        )
    if disk.backing == "other":
        return ("its kind of storage is not known to this product", "report the disk's backing type")
    if disk.capacity_bytes <= 0:
        return (f"its capacity is {format_size(disk.capacity_bytes)}", "check the disk in the vSphere Client")
    return None


_SHARED_HINT: Final = "back up a shared disk inside the guest of one cluster member"


def foreign_snapshots(names: tuple[str, ...]) -> tuple[str, ...]:
    """Snapshots that another product or vSphere itself keeps for a short while: wait for them to go."""
    return tuple(n for n in names if n.casefold().startswith(_FOREIGN))


def remarks(vm: VirtualMachine) -> list[str]:
    """What may make this VM's backup slow, incomplete or risky, in words; nothing here forbids it."""
    said = []
    if vm.consolidation_needed:
        said.append("its disks need consolidation: an earlier snapshot was not fully removed")
    deepest = max((d.chain_depth for d in vm.disks), default=1)
    if deepest > _DEEP_CHAIN:
        said.append(
            f"a disk is read through {deepest} files; vSphere allows {SNAPSHOT_LIMIT} snapshot levels"
        )
    foreign = foreign_snapshots(vm.snapshot_names)
    if foreign:
        said.append(f"another product is at work on it: snapshot {foreign[0]!r}")
    if vm.power_state == "suspended":
        said.append("it is suspended: the snapshot may hold its memory file")
    if not vm.cbt_supported:
        said.append("its hardware version has no changed block tracking: every backup reads all")
    elif not vm.cbt_enabled and vm.snapshot_names:
        said.append("changed block tracking is off and can't be switched on while snapshots exist")
    if vm.encrypted:
        said.append(
            "it is encrypted: its NVRAM is kept as ciphertext and a restore needs the same key provider"
        )
    return said
