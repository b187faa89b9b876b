"""A machine's change tracking: when it starts, restarts and ends, and what it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vbm.lab import disk_chain
from vbm.lab.change_tracking import Tracker, bad_argument, cbt_fault, page_of_areas, split_change_id
from vbm.lab.datastore import FAULT, WHOLE
from vbm.lab.model import ON, ChangeInfo, LabFault, VirtualDisk

if TYPE_CHECKING:
    from vbm.lab.machine import Machine


def tracker(machine: Machine, disk: VirtualDisk) -> Tracker:
    """Of the running disk; the caller holds ``machine.io``."""
    found = machine.trackers.get(disk.key)
    if found is None or found.change_id != disk.change_id:
        folder = machine.lab.directory / "tracking" / machine.moref / str(disk.key)
        found = machine.trackers[disk.key] = Tracker(folder, disk.change_id)
    return found


def stunned(machine: Machine) -> None:
    """The machine was stopped for a moment: disks begin or end to be tracked as the flag says."""
    for disk in machine.disks:
        wanted = machine.config.change_tracking_enabled and disk.in_snapshots
        if wanted and disk.change_id is None:
            _start(machine, disk)
        elif not wanted and disk.change_id is not None:
            tracker(machine, disk).stop(_asked(machine, disk))
            _stamp(machine, disk, None)


def restart(machine: Machine, key: int | None = None) -> None:
    """Tracked disks (or that one) get a fresh uuid at sequence 1."""
    for disk in machine.disks:
        if key in {None, disk.key} and disk.change_id is not None:
            _start(machine, disk)


def forget(machine: Machine, disk: VirtualDisk) -> None:
    """The disk leaves the machine, or its chain is replaced: not tracked until the next stun."""
    if disk.change_id is not None:
        tracker(machine, disk).stop(_asked(machine, disk))
        _stamp(machine, disk, None)


def next_epoch(machine: Machine, disk: VirtualDisk) -> str | None:
    """A snapshot: the running disk's next change id; the frozen head keeps the one it has."""
    found = tracker(machine, disk)
    found.next_epoch()
    return found.change_id


def _start(machine: Machine, disk: VirtualDisk) -> None:
    found = tracker(machine, disk)
    found.start(allocated(machine, disk), _asked(machine, disk))
    _stamp(machine, disk, found.change_id)


def _stamp(machine: Machine, disk: VirtualDisk, change_id: str | None) -> None:
    head = disk.layers[-1]
    head.change_id = change_id
    if machine.materialised:
        machine.store.track(head, on=change_id is not None)
        machine.store.write_descriptor(head, disk.layers[-2] if len(disk.layers) > 1 else None, disk)


def _asked(machine: Machine, disk: VirtualDisk) -> set[str]:
    """The uuids under which snapshots of this disk may still be asked."""
    frozen = [each for node in machine.all_snapshots() for each in node.config.disks if each.key == disk.key]
    ids = [layer.change_id for each in frozen for layer in each.layers]
    return {split_change_id(change_id)[0] for change_id in ids if change_id is not None}


def allocated(machine: Machine, disk: VirtualDisk) -> list[tuple[int, int]]:
    """What the datastore has allocated to the chain, as coarse as the datastore allocates."""
    if not disk.thin:
        return [(0, disk.capacity_bytes)]
    if not machine.materialised:
        return []
    grain = machine.lab.datastore(disk.datastore).allocation_bytes
    return disk_chain.allocated(machine.store.files(disk.layers), grain, disk.capacity_bytes)


def changed_areas(machine: Machine, snapshot: str | None, key: int, start: int, change_id: str) -> ChangeInfo:
    with machine.io:
        disk, until = _asked_disk(machine, snapshot, key)
        if not 0 <= start < disk.capacity_bytes:
            raise bad_argument(
                "startOffset", f"{start} is not within the disk of {disk.capacity_bytes} bytes"
            )
        if until is None:
            raise cbt_fault("noTrack", "change tracking is not active for this disk", disk.file_name)
        if change_id == "*":
            return _allocated_areas(machine, disk, start)
        return tracker(machine, _running(machine, disk)).changed(change_id, until, start, disk.capacity_bytes)


def _asked_disk(machine: Machine, snapshot: str | None, key: int) -> tuple[VirtualDisk, str | None]:
    if snapshot is None:
        disk = machine.disk(key)
        if machine.power_state == ON:
            raise cbt_fault(
                "cannotGetChanges", "the disk is in use and no snapshot was given", disk.file_name
            )
    else:
        node = next((each for each in machine.all_snapshots() if each.moref == snapshot), None)
        if node is None:
            raise LabFault("NotFound", f"no snapshot {snapshot} of {machine.name}")
        disk = node.disk(key)
        if not disk.in_snapshots:
            raise cbt_fault("noTrack", "the disk is not part of snapshots", disk.file_name)
    return disk, disk.change_id if machine.config.change_tracking_enabled else None


def _running(machine: Machine, disk: VirtualDisk) -> VirtualDisk:
    """The running disk that a frozen one belongs to; the frozen one itself where it was detached since."""
    return next((each for each in machine.disks if each.key == disk.key and each.uuid == disk.uuid), disk)


def _allocated_areas(machine: Machine, disk: VirtualDisk, start: int) -> ChangeInfo:
    behaviour = machine.lab.datastore(disk.datastore).star
    if behaviour == FAULT:
        raise cbt_fault("noEpoch", "cannot get the current epoch when the change id is *", disk.file_name)
    whole = behaviour == WHOLE
    found = [(0, disk.capacity_bytes)] if whole else allocated(machine, disk)
    return page_of_areas(found, start, disk.capacity_bytes)
