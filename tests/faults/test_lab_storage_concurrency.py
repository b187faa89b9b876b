"""A guest that writes while its snapshot is read, and while what is left of it is merged."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vbm.clock import VirtualClock
from vbm.lab.machine import Machine
from vbm.lab.model import SE_SPARSE, VMFS_SPARSE, DiskSpec, LabFault, MachineSpec
from vbm.lab.state import LabState
from vbm.units import KIB, MIB

SIZE = 8 * MIB


@pytest.fixture
def state(tmp_path: Path) -> Iterator[LabState]:
    lab = LabState.create(tmp_path / "lab", "empty", VirtualClock())
    yield lab
    lab.close()


class Guest(threading.Thread):
    """Writes at random until told to stop, and remembers what its disk must hold."""

    def __init__(self, machine: Machine, seed: int) -> None:
        super().__init__()
        self.machine = machine
        self.source = random.Random(seed)
        self.data = bytearray(machine.guest_read(0, 0, SIZE))
        self.stopping = threading.Event()
        self.written = 0

    def run(self) -> None:
        while not self.stopping.is_set():
            self.write_once()

    def write_once(self) -> None:
        offset = self.source.randrange(SIZE - 100 * KIB)
        piece = self.source.randbytes(self.source.randrange(1, 100 * KIB))
        self.machine.guest_write(0, offset, piece)
        self.data[offset : offset + len(piece)] = piece
        self.written += 1


@pytest.mark.parametrize("kind", [VMFS_SPARSE, SE_SPARSE])
def test_reading_and_merging_under_a_writing_guest(state: LabState, kind: str) -> None:
    disk = DiskSpec(SIZE, delta_format=kind)
    machine = state.create_machine(MachineSpec("m", disks=(disk,), change_tracking_enabled=True))
    machine.power_on()
    guest = Guest(machine, 1)
    guest.start()
    try:
        for number in range(6):
            node = machine.take_snapshot(f"s{number}")
            view = machine.frozen_reader(node.moref, 2000)
            first = view.read_at(0, SIZE)
            wanted = guest.written + 20
            with ThreadPoolExecutor(3) as pool:
                while guest.written < wanted:
                    pieces = list(pool.map(view.read_at, range(0, SIZE, MIB), [MIB] * (SIZE // MIB)))
                    assert b"".join(pieces) == first
            if number % 2:
                machine.remove_all_snapshots()
    finally:
        guest.stopping.set()
        guest.join()
    machine.remove_all_snapshots()
    assert machine.guest_read(0, 0, SIZE) == guest.data
    assert len(machine.disks[0].layers) == 1


def test_a_snapshot_waits_for_a_quiet_batch_to_end(state: LabState) -> None:
    machine = state.create_machine(MachineSpec("m", disks=(DiskSpec(SIZE),)))
    with ThreadPoolExecutor(1) as pool:
        with machine.quiet():
            machine.guest_write(0, 0, b"half")
            taken = pool.submit(machine.take_snapshot, "s")
            machine.guest_write(0, MIB, b"whole")
        node = taken.result()
    view = machine.frozen_reader(node.moref, 2000)
    assert (view.read_at(0, 4), view.read_at(MIB, 5)) == (b"half", b"whole")


def test_one_operation_at_a_time(state: LabState) -> None:
    machine = state.create_machine(MachineSpec("m", disks=(DiskSpec(SIZE),)))
    with machine.operation("Reconfigure"), pytest.raises(LabFault, match="TaskInProgress"):
        machine.take_snapshot("s")
    machine.take_snapshot("s")


def test_failed_consolidation_leaves_the_delta_until_it_is_asked_for_again(state: LabState) -> None:
    machine = state.create_machine(MachineSpec("m", disks=(DiskSpec(SIZE),)))
    moref = machine.take_snapshot("s").moref
    machine.guest_write(0, 0, b"x")
    machine.remove_snapshot(moref, fail_consolidation=True)
    assert machine.consolidation_needed
    assert machine.disks[0].file_name.endswith("-000001.vmdk")
    machine.consolidate()
    assert not machine.consolidation_needed
    assert machine.disks[0].file_name == "[datastore1] m/m.vmdk"
    assert machine.guest_read(0, 0, 1) == b"x"
    assert sorted(path.name for path in state.resolve("[datastore1] m").glob("*.vmdk")) == [
        "m-flat.vmdk",
        "m.vmdk",
    ]


def test_slow_consolidation_tells_its_progress_on_the_labs_clock(state: LabState) -> None:
    machine = state.create_machine(MachineSpec("m", disks=(DiskSpec(SIZE),)))
    moref = machine.take_snapshot("s").moref
    machine.guest_write(0, 0, b"x" * 4 * MIB)
    told: list[int] = []
    before = state.clock.monotonic()
    machine.remove_snapshot(moref, progress=told.append, bytes_per_second=MIB)
    assert state.clock.monotonic() - before >= 4
    assert told == sorted(told)
    assert told[-1] == 100


def test_a_view_ends_with_its_snapshot(state: LabState) -> None:
    machine = state.create_machine(MachineSpec("m", disks=(DiskSpec(SIZE),)))
    node = machine.take_snapshot("s")
    view = machine.frozen_reader(node.moref, 2000)
    machine.remove_snapshot(node.moref)
    with pytest.raises(LabFault, match="FileNotFound"):
        view.read_at(0, 1)


def test_a_machine_that_vanishes(state: LabState) -> None:
    machine = state.create_machine(MachineSpec("m", disks=(DiskSpec(SIZE),)))
    machine.power_on()
    machine.take_snapshot("s")
    state.vanish(machine.moref)
    with pytest.raises(LabFault, match="ManagedObjectNotFound"):
        state.machine(machine.moref)
    assert not state.resolve("[datastore1] m").exists()
