"""kill -9 of the lab's process at random moments: what had returned is there afterwards, to the byte."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from vbm.clock import VirtualClock
from vbm.lab.machine import Machine
from vbm.lab.model import GRAIN_BYTES, DiskSpec, MachineSpec
from vbm.lab.state import LabState
from vbm.units import KIB, MIB

SIZE = 4 * MIB
Step = tuple[str, int, int]


def steps(seed: int) -> list[Step]:
    """What the child does: writes (offset, length), snapshots, removals of the oldest, all from one seed."""
    source = random.Random(seed)
    found: list[Step] = []
    depth = 0
    for _ in range(4000):
        kind = source.choices(("write", "snapshot", "remove"), (8, 1 if depth < 3 else 0, 1 if depth else 0))[
            0
        ]
        depth += {"write": 0, "snapshot": 1, "remove": -1}[kind]
        found.append((kind, source.randrange(SIZE - 70 * KIB), source.randrange(1, 70 * KIB)))
    return found


def do(machine: Machine, number: int, step: Step) -> None:
    kind, offset, length = step
    if kind == "write":
        machine.guest_write(0, offset, bytes([number % 255 + 1]) * length)
    elif kind == "snapshot":
        machine.take_snapshot(f"s{number}")
    else:
        machine.remove_snapshot(machine.snapshots[0].moref)


CHILD = """
import sys
from itertools import pairwise
from pathlib import Path
sys.path.insert(0, {here!r})
from test_lab_storage_kill import do, steps
from vbm.lab.state import LabState
state = LabState.open(Path({folder!r}))
machine = state.find_machine("m")
for number, step in enumerate(steps({seed})):
    do(machine, number, step)
    sys.stdout.write(f"{{number}}\\n")
    sys.stdout.flush()
"""


def run_and_kill(folder: Path, seed: int, after: int) -> int:
    """How many steps had returned when it was killed."""
    code = CHILD.format(here=str(Path(__file__).parent), folder=str(folder), seed=seed)
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for _ in range(after):
        child.stdout.readline()
    child.kill()
    done = after + len([line for line in child.stdout.read().splitlines() if line.strip()])
    child.wait()
    child.stdout.close()
    return done


class Model:
    def __init__(self, seed: int, done: int) -> None:
        self.data = bytearray(SIZE)
        self.snapshots: dict[str, tuple[bytes, int]] = {}
        self.writes: list[set[int]] = []
        for number, (kind, offset, length) in enumerate(steps(seed)[:done]):
            if kind == "write":
                self.data[offset : offset + length] = bytes([number % 255 + 1]) * length
                self.writes.append(
                    set(range(offset // GRAIN_BYTES, (offset + length - 1) // GRAIN_BYTES + 1))
                )
            elif kind == "snapshot":
                self.snapshots[f"s{number}"] = (bytes(self.data), len(self.writes))
            else:
                del self.snapshots[next(iter(self.snapshots))]


@pytest.mark.parametrize("seed", range(6))
def test_what_had_returned_survives(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "lab"
    state = LabState.create(folder, "empty", VirtualClock())
    disk = DiskSpec(SIZE, delta_format="seSparse" if seed % 2 else "vmfsSparse")
    machine = state.create_machine(MachineSpec("m", disks=(disk,), change_tracking_enabled=True))
    machine.power_on()
    state.close()
    done = run_and_kill(folder, seed, random.Random(seed).randrange(5, 150))
    with_next = steps(seed)[done]
    state = LabState.open(folder, VirtualClock())
    machine = state.find_machine("m")
    model, later = Model(seed, done), Model(seed, done + 1)
    names = [node.name for node in machine.all_snapshots()]
    assert names in (list(model.snapshots), list(later.snapshots))
    check_bytes(machine, model, with_next)
    check_snapshots(machine, model if names == list(model.snapshots) else later)
    machine.consolidate()
    check_bytes(machine, model, with_next)
    machine.take_snapshot("afterwards")
    machine.remove_all_snapshots()
    assert [len(each.layers) for each in machine.disks] == [1]
    check_bytes(machine, model, with_next)
    state.close()


def check_bytes(machine: Machine, model: Model, under_way: Step) -> None:
    """The guest's view; the write that was under way may have been done in part."""
    kind, offset, length = under_way
    seen = bytearray(machine.guest_read(0, 0, SIZE))
    if kind == "write":
        seen[offset : offset + length] = model.data[offset : offset + length]
    assert seen == model.data


def check_snapshots(machine: Machine, model: Model) -> None:
    nodes = machine.all_snapshots()
    for node in nodes:
        data, _ = model.snapshots[node.name]
        assert machine.frozen_reader(node.moref, 2000).read_at(0, SIZE) == data
    for since, until in pairwise(nodes):
        change_id = since.disk(2000).change_id or ""
        areas = machine.changed_areas(until.moref, 2000, 0, change_id).areas
        told = {
            grain
            for area in areas
            for grain in range(area.start // GRAIN_BYTES, (area.start + area.length) // GRAIN_BYTES)
        }
        first, last = model.snapshots[since.name][1], model.snapshots[until.name][1]
        assert told >= set().union(*model.writes[first:last])
