"""A machine of the lab against plain bytes and a history: whatever is done to it, in whatever order."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from vbm.clock import VirtualClock
from vbm.lab.model import GRAIN_BYTES, OFF, DiskSpec, LabFault, MachineSpec
from vbm.lab.state import LabState
from vbm.units import KIB, MIB

SIZES = (3 * MIB + 5 * 512, 2 * MIB + 64 * KIB)


@dataclass
class Frozen:
    """What a snapshot must show of each disk."""

    data: list[bytes]
    change_ids: list[str | None]
    moments: list[int]  # how many writes each disk's history had


@dataclass
class DiskModel:
    data: bytearray
    writes: list[set[int]] = field(default_factory=list)  # grains, one set a write
    began: int = 0  # length of the history when tracking last restarted


class LabMachine(RuleBasedStateMachine):
    @initialize(tracked=st.booleans())
    def create(self, tracked: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vbm-lab-"))
        self.state = LabState.create(self.folder, "empty", VirtualClock())
        disks = (DiskSpec(SIZES[0]), DiskSpec(SIZES[1], delta_format="seSparse"))
        self.machine = self.state.create_machine(
            MachineSpec("m", disks=disks, change_tracking_enabled=tracked)
        )
        self.disks = [DiskModel(bytearray(size)) for size in SIZES]
        self.frozen: dict[str, Frozen] = {}

    def teardown(self) -> None:
        self.state.close()
        shutil.rmtree(self.folder)

    @property
    def keys(self) -> list[int]:
        return [disk.key for disk in self.machine.disks]

    def _restarted(self, before: list[str | None]) -> None:
        """Note which disks have another tracking uuid than before."""
        for disk, model, old in zip(self.machine.disks, self.disks, before, strict=True):
            if (disk.change_id or "").partition("/")[0] != (old or "").partition("/")[0]:
                model.began = len(model.writes)

    def _ids(self) -> list[str | None]:
        return [disk.change_id for disk in self.machine.disks]

    # --- the guest ----------------------------------------------------------------------------------
    @rule(
        disk=st.integers(0, 1), at=st.floats(0, 1), length=st.integers(1, 200 * KIB), fill=st.integers(1, 255)
    )
    def write(self, disk: int, at: float, length: int, fill: int) -> None:
        model = self.disks[disk]
        offset = int(at * (len(model.data) - 1))
        length = min(length, len(model.data) - offset)
        self.machine.guest_write(disk, offset, bytes([fill]) * length)
        model.data[offset : offset + length] = bytes([fill]) * length
        model.writes.append(set(range(offset // GRAIN_BYTES, (offset + length - 1) // GRAIN_BYTES + 1)))

    @rule(disk=st.integers(0, 1), at=st.floats(0, 1), length=st.integers(1, MIB))
    def zero(self, disk: int, at: float, length: int) -> None:
        model = self.disks[disk]
        offset = int(at * (len(model.data) - 1))
        length = min(length, len(model.data) - offset)
        self.machine.guest_zero(disk, offset, length)
        model.data[offset : offset + length] = bytes(length)
        model.writes.append(set(range(offset // GRAIN_BYTES, (offset + length - 1) // GRAIN_BYTES + 1)))

    # --- snapshots ----------------------------------------------------------------------------------
    @precondition(lambda self: len(self.frozen) < 5)
    @rule()
    def snapshot(self) -> None:
        before = self._ids()
        node = self.machine.take_snapshot(f"s{len(self.frozen)}")
        assert [disk.data for disk in self.disks] == [
            self.machine.frozen_reader(node.moref, key).read_at(0, len(model.data))
            for key, model in zip(self.keys, self.disks, strict=True)
        ]
        self._restarted(before)
        self.frozen[node.moref] = Frozen(
            [bytes(disk.data) for disk in self.disks],
            [disk.change_id for disk in node.config.disks],
            [len(disk.writes) for disk in self.disks],
        )

    @precondition(lambda self: self.frozen)
    @rule(which=st.integers(0, 9), children=st.booleans(), fail=st.booleans())
    def remove(self, which: int, children: bool, fail: bool) -> None:
        moref = sorted(self.frozen)[which % len(self.frozen)]
        node = self.machine.snapshot(moref)
        before = self._ids()
        gone = [each.moref for each in node.walk()] if children else [moref]
        self.machine.remove_snapshot(moref, remove_children=children, fail_consolidation=fail)
        for each in gone:
            del self.frozen[each]
        self._restarted(before)
        if not self.frozen and not fail:
            assert all(len(disk.layers) == 1 for disk in self.machine.disks)
            assert all(disk.file_name.endswith(("/m.vmdk", "/m_1.vmdk")) for disk in self.machine.disks)

    @rule()
    def consolidate(self) -> None:
        before = self._ids()
        self.machine.consolidate()
        self._restarted(before)
        assert not self.machine.consolidation_needed

    @precondition(lambda self: self.frozen)
    @rule(which=st.integers(0, 9))
    def revert(self, which: int) -> None:
        moref = sorted(self.frozen)[which % len(self.frozen)]
        self.machine.revert(moref)
        for model, data in zip(self.disks, self.frozen[moref].data, strict=True):
            model.data = bytearray(data)
            model.began = len(model.writes)

    # --- the rest -----------------------------------------------------------------------------------
    @rule(disk=st.integers(0, 1), more=st.integers(1, 300))
    def grow(self, disk: int, more: int) -> None:
        capacity = len(self.disks[disk].data) + more * 512
        if self.machine.snapshots or len(self.machine.disks[disk].layers) > 1:
            with pytest.raises(LabFault, match="InvalidDeviceOperation"):
                self.machine.grow_disk(self.keys[disk], capacity)
            return
        self.machine.grow_disk(self.keys[disk], capacity)
        self.disks[disk].data.extend(bytes(more * 512))
        self.disks[disk].began = len(self.disks[disk].writes)

    @rule()
    def power(self) -> None:
        before = self._ids()
        if self.machine.power_state == OFF:
            self.machine.power_on()
        else:
            self.machine.power_off()
        self._restarted(before)

    @rule()
    def lose_power(self) -> None:
        self.machine.lose_power()
        for model in self.disks:
            model.began = len(model.writes)

    @precondition(lambda self: not self.machine.snapshots)
    @rule()
    def toggle_tracking(self) -> None:
        self.machine.set_change_tracking(not self.machine.change_tracking_enabled)

    @rule()
    def reopen(self) -> None:
        self.state.close()
        self.state = LabState.open(self.folder, VirtualClock())
        self.machine = self.state.find_machine("m")

    # --- always -------------------------------------------------------------------------------------
    @invariant()
    def the_guest_sees_what_it_wrote(self) -> None:
        for index, model in enumerate(self.disks):
            assert self.machine.guest_read(index, 0, len(model.data)) == model.data

    @invariant()
    def each_snapshot_shows_its_moment(self) -> None:
        for moref, frozen in self.frozen.items():
            for key, data in zip(self.keys, frozen.data, strict=True):
                assert self.machine.frozen_reader(moref, key).read_at(0, len(data)) == data

    @invariant()
    def changed_areas_are_exact(self) -> None:
        for later, until in self.frozen.items():
            for since in self.frozen.values():
                for index in range(2):
                    self._check_areas(later, until, since, index)

    @staticmethod
    def _answerable(until: Frozen, since: Frozen, index: int) -> bool:
        """Of one tracking, and not from the future."""
        uuid, _, low = (since.change_ids[index] or "/0").rpartition("/")
        stamped, _, high = (until.change_ids[index] or "/0").rpartition("/")
        return uuid == stamped and int(low) <= int(high)

    def _check_areas(self, later: str, until: Frozen, since: Frozen, index: int) -> None:
        change_id, model = since.change_ids[index], self.disks[index]
        ours = until.change_ids[index]
        tracking = self.machine.change_tracking_enabled and ours is not None
        if not tracking or not self._answerable(until, since, index):
            with pytest.raises(LabFault, match="InvalidArgument" if tracking else "FileFault"):
                self.machine.changed_areas(later, self.keys[index], 0, change_id or "a/1")
            return
        info = self.machine.changed_areas(later, self.keys[index], 0, change_id or "")
        first, last = since.moments[index], until.moments[index]
        expected = set().union(*model.writes[first:last])
        grains = {
            grain
            for area in info.areas
            for grain in range(area.start // GRAIN_BYTES, -(-(area.start + area.length) // GRAIN_BYTES))
        }
        size = len(until.data[index])
        assert grains == expected
        assert info.start + info.length == size
        assert all(area.start % GRAIN_BYTES == 0 and area.start + area.length <= size for area in info.areas)


LabMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=25)
TestLabMachine = LabMachine.TestCase
