"""The VM changes while it is backed up: renamed, moved, grown, given a disk, started, reverted, deleted.

Either the backup is right, whole and of the instant of the snapshot, or there is none and one clear error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engine_lab import MIB, Rig, Watcher

from vbm.errors import VbmError
from vbm.lab.machine import Machine
from vbm.lab.model import DiskSpec, LabFault

PHASES = ["connecting", "snapshot", "downloading", "compressing", "committing", "cleanup"]
Change = Callable[[Rig, Machine], object]


def rename(rig: Rig, machine: Machine) -> object:
    return rig.lab.state.rename(machine.moref, f"renamed [1] %2f ü {machine.moref}")


def move(rig: Rig, machine: Machine) -> object:
    folder = rig.lab.state.create_folder(rig.lab.state.parent_of(machine.moref), f"elsewhere {machine.moref}")
    return rig.lab.state.move_into(folder.moref, machine.moref)


def change_host(rig: Rig, machine: Machine) -> object:
    return machine.relocate(host=next(h for h in rig.lab.state.hosts if h != machine.host))


def grow(_rig: Rig, machine: Machine) -> object:
    return machine.grow_disk(2000, 12 * MIB)


def add_disk(rig: Rig, machine: Machine) -> object:
    image = rig.folder / "more.img"
    image.write_bytes(b"more" * MIB)
    return machine.attach_disk(DiskSpec(source=image))


def power_off(_rig: Rig, machine: Machine) -> object:
    return machine.power_off()


def take_snapshot(_rig: Rig, machine: Machine) -> object:
    return machine.take_snapshot("somebody's own")


def remove_all_snapshots(_rig: Rig, machine: Machine) -> object:
    return machine.remove_all_snapshots()


def vanish(rig: Rig, machine: Machine) -> object:
    return rig.lab.state.vanish(machine.moref)


class Meddler(Watcher):
    """Makes the change at the beginning of one phase, and keeps the disk as our snapshot froze it."""

    def __init__(self, rig: Rig, machine: Machine, phase: str, change: Change) -> None:
        super().__init__()
        self._rig, self._machine, self._at, self._change = rig, machine, phase, change
        self.frozen = b""
        self.was_refused = False

    def phase(self, name: str) -> None:
        super().phase(name)
        if name == "downloading":
            self.frozen = self._rig.frozen(self._machine)
        if name == self._at:
            try:
                self._change(self._rig, self._machine)
            except LabFault:
                self.was_refused = True  # as vSphere refuses it, such as growing a disk that has a snapshot


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


CHANGES = [
    *(rename, move, change_host, grow, add_disk),
    *(power_off, take_snapshot, remove_all_snapshots, vanish),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_backup_of_a_vm_that_changes_is_right_or_refused(rig: Rig, change: Change) -> None:
    """At the beginning of each phase, the first of them before the snapshot is made."""
    for number, phase in enumerate(PHASES):
        machine = rig.machine(f"vm{number}")
        rig.backup(machine.moref)
        machine.guest_write(0, MIB, f"{phase}".encode() * 1000)
        meddler = Meddler(rig, machine, phase, change)
        result, code = None, ""
        try:
            result = rig.backup(machine.moref, watcher=meddler)
        except VbmError as error:
            code = error.code
        if result is None:
            assert code in {"snapshot-lost", "object-gone"}, phase
            assert change in {remove_all_snapshots, vanish}
        else:
            assert rig.stored(result.restore_point) == meddler.frozen, phase
        assert meddler.was_refused == (change is grow and phase in PHASES[2:]), phase
        if change is not vanish:
            assert rig.ours(machine) == [], phase
            after = Meddler(rig, machine, "", change)
            again = rig.backup(machine.moref, watcher=after)
            assert rig.stored(again.restore_point) == after.frozen, phase
