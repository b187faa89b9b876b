"""Where vSphere refuses, the lab refuses, with the fault that vSphere gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vbm.clock import VirtualClock
from vbm.errors import InputError, NotFoundError
from vbm.lab.machine import Machine
from vbm.lab.model import GRAIN_BYTES, Controller, DiskSpec, LabFault, MachineSpec
from vbm.lab.state import LabBusyError, LabState
from vbm.units import KIB, MIB


@pytest.fixture
def state(tmp_path: Path) -> Iterator[LabState]:
    lab = LabState.create(tmp_path / "lab", "empty", VirtualClock())
    yield lab
    lab.close()


@pytest.fixture
def machine(state: LabState) -> Machine:
    made = state.create_machine(MachineSpec("m", disks=(DiskSpec(4 * MIB),)))
    made.power_on()
    return made


def refused(call: Callable[[], object]) -> LabFault:
    with pytest.raises(LabFault) as caught:
        call()
    return caught.value


def tracked(machine: Machine) -> str:
    """A snapshot after which the disk is tracked."""
    machine.set_change_tracking(True)
    return machine.take_snapshot("first").moref


def test_enabling_change_tracking_has_no_effect_before_a_stun(machine: Machine) -> None:
    machine.set_change_tracking(True)
    assert machine.disks[0].change_id is None
    machine.power_off()
    assert machine.disks[0].change_id is None
    machine.power_on()
    first = machine.disks[0].change_id
    assert first is not None
    assert first.endswith("/1")


def test_a_snapshot_stamps_the_frozen_disk_and_the_running_one_goes_on(machine: Machine) -> None:
    node = machine.snapshot(tracked(machine))
    uuid, _, sequence = (node.disk(2000).change_id or "").rpartition("/")
    assert sequence == "1"
    assert len(uuid) == 47
    assert machine.disks[0].change_id == f"{uuid}/2"
    machine.remove_snapshot(node.moref)
    assert machine.disks[0].change_id == f"{uuid}/2"


def test_switching_off_and_on_without_a_stun_keeps_the_tracking(machine: Machine) -> None:
    moref = tracked(machine)
    machine.remove_snapshot(moref)
    before = machine.disks[0].change_id
    machine.set_change_tracking(False)
    machine.set_change_tracking(True)
    machine.take_snapshot("second")
    assert machine.disks[0].change_id is not None
    assert machine.disks[0].change_id.partition("/")[0] == (before or "").partition("/")[0]


def test_change_tracking_can_not_be_switched_while_there_are_snapshots(machine: Machine) -> None:
    machine.take_snapshot("user's")
    assert refused(lambda: machine.set_change_tracking(True)).fault == "InvalidSnapshotState"


@pytest.mark.parametrize(
    ("key", "start", "change_id", "named"),
    [
        (2001, 0, "*", "deviceKey"),
        (2000, 4 * MIB, "*", "startOffset"),
        (2000, -1, "*", "startOffset"),
        (2000, 0, "no change id", "changeId"),
        (2000, 0, "52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63/1", "changeId"),
        (2000, 0, "OWN/2", "changeId"),
        (2000, 0, "OWN/0", "changeId"),
    ],
)
def test_arguments_of_changed_areas(
    machine: Machine, key: int, start: int, change_id: str, named: str
) -> None:
    moref = tracked(machine)
    own = (machine.snapshot(moref).disk(2000).change_id or "").partition("/")[0]
    fault = refused(lambda: machine.changed_areas(moref, key, start, change_id.replace("OWN", own)))
    assert (fault.fault, fault.properties["invalidProperty"]) == ("InvalidArgument", named)


def test_changed_areas_of_a_running_machine_without_a_snapshot(machine: Machine) -> None:
    change_id = machine.snapshot(tracked(machine)).disk(2000).change_id or ""
    assert refused(lambda: machine.changed_areas(None, 2000, 0, change_id)).fault == "FileFault"
    machine.guest_write(0, 70 * KIB, b"x")
    machine.power_off()
    areas = machine.changed_areas(None, 2000, 0, change_id).areas
    assert [(area.start, area.length) for area in areas] == [(64 * KIB, 64 * KIB)]


def test_a_disk_that_is_not_tracked(machine: Machine) -> None:
    moref = machine.take_snapshot("s").moref
    fault = refused(lambda: machine.changed_areas(moref, 2000, 0, "*"))
    assert (fault.fault, fault.message_keys) == ("FileFault", ("vim.hostd.vmsvc.cbt.noTrack",))
    assert refused(lambda: machine.changed_areas("snapshot-1", 2000, 0, "*")).fault == "NotFound"


def test_nothing_written_after_the_snapshot_is_told(machine: Machine) -> None:
    first = machine.snapshot(tracked(machine)).disk(2000).change_id or ""
    machine.guest_write(0, 0, b"a")
    second = machine.take_snapshot("second").moref
    machine.guest_write(0, MIB, b"b")
    areas = machine.changed_areas(second, 2000, 0, first).areas
    assert [(area.start, area.length) for area in areas] == [(0, GRAIN_BYTES)]


@pytest.mark.parametrize("count", [1999, 2000, 2001, 4500])
def test_answers_are_paged_by_2000_areas(state: LabState, count: int) -> None:
    machine = state.create_machine(MachineSpec("big", disks=(DiskSpec(1024 * MIB),)))
    first = machine.snapshot(tracked(machine)).disk(2000).change_id or ""
    for number in range(count):
        machine.guest_write(0, number * 2 * GRAIN_BYTES, b"x")
    moref = machine.take_snapshot("second").moref
    starts, at, pages = [], 0, 0
    while at < 1024 * MIB:
        page = machine.changed_areas(moref, 2000, at, first)
        assert page.start == at
        assert len(page.areas) <= 2000
        starts += [area.start for area in page.areas]
        at, pages = at + page.length, pages + 1
    assert starts == [number * 2 * GRAIN_BYTES for number in range(count)]
    assert pages == -(-count // 2000)


@pytest.mark.parametrize(
    "restart",
    [
        lambda m: m.lose_power(),
        lambda m: m.reset_change_tracking(),
        lambda m: m.grow_disk(2000, 5 * MIB),
        lambda m: m.relocate("other"),
        lambda m: m.revert(m.take_snapshot("back").moref),
    ],
)
def test_ids_from_before_an_incident_are_refused(
    state: LabState, machine: Machine, restart: Callable[[Machine], None]
) -> None:
    state.mount_datastore("other", "VMFS")
    moref = tracked(machine)
    change_id = machine.snapshot(moref).disk(2000).change_id or ""
    machine.remove_snapshot(moref)
    restart(machine)
    after = machine.take_snapshot("after").moref
    fault = refused(lambda: machine.changed_areas(after, 2000, 0, change_id))
    assert fault.properties["invalidProperty"] == "changeId"


def test_vmotion_keeps_the_tracking(machine: Machine) -> None:
    moref = tracked(machine)
    change_id = machine.snapshot(moref).disk(2000).change_id or ""
    machine.remove_snapshot(moref)
    machine.relocate(host="host-10")
    machine.guest_write(0, 0, b"x")
    after = machine.take_snapshot("after").moref
    assert len(machine.changed_areas(after, 2000, 0, change_id).areas) == 1


def test_lost_changes_are_lost_silently(machine: Machine) -> None:
    change_id = machine.snapshot(tracked(machine)).disk(2000).change_id or ""
    machine.guest_write(0, 0, b"x")
    machine.lose_changes()
    after = machine.take_snapshot("after").moref
    assert machine.changed_areas(after, 2000, 0, change_id).areas == ()


@pytest.mark.parametrize(("star", "expected"), [("whole", (0, 4 * MIB)), ("allocated", (MIB, MIB))])
def test_allocated_areas_by_datastore(state: LabState, star: str, expected: tuple[int, int]) -> None:
    state.mount_datastore("ds", "VMFS", behaviour={"star": star})
    machine = state.create_machine(MachineSpec("s", datastore="ds", disks=(DiskSpec(4 * MIB),)))
    machine.guest_write(0, MIB + 100, b"x")
    areas = machine.changed_areas(tracked(machine), 2000, 0, "*").areas
    assert [(area.start, area.length) for area in areas] == [expected]


def test_allocated_areas_may_be_refused(state: LabState) -> None:
    state.mount_datastore("ds", "NFS41", behaviour={"star": "fault"})
    machine = state.create_machine(MachineSpec("s", datastore="ds", disks=(DiskSpec(4 * MIB),)))
    moref = tracked(machine)
    fault = refused(lambda: machine.changed_areas(moref, 2000, 0, "*"))
    assert fault.message_keys == ("vim.hostd.vmsvc.cbt.noEpoch",)


def test_a_33rd_level_of_snapshots(machine: Machine) -> None:
    for number in range(32):
        machine.take_snapshot(f"level {number + 1}")
    assert refused(lambda: machine.take_snapshot("one more")).fault == "TooManySnapshotLevels"
    machine.remove_all_snapshots()
    assert len(machine.disks[0].layers) == 1


@pytest.mark.parametrize(
    ("disk", "controllers"),
    [
        (DiskSpec(MIB, rdm="physicalMode"), ()),
        (DiskSpec(MIB, sharing="sharingMultiWriter"), ()),
        (DiskSpec(MIB), (Controller(1000, "lsilogicsas", 0, "virtualSharing"),)),
    ],
)
def test_devices_that_exclude_snapshots(
    state: LabState, disk: DiskSpec, controllers: tuple[Controller, ...]
) -> None:
    machine = state.create_machine(MachineSpec("x", disks=(disk,), controllers=controllers))
    assert refused(lambda: machine.take_snapshot("s")).fault == "SnapshotIncompatibleDeviceInVm"
    assert machine.snapshots == []


def test_fault_tolerance_templates_and_independent_disks(state: LabState) -> None:
    tolerant = state.create_machine(MachineSpec("ft", disks=(DiskSpec(MIB),), fault_tolerant=True))
    assert refused(lambda: tolerant.take_snapshot("s")).fault == "SnapshotIncompatibleDeviceInVm"
    template = state.create_machine(MachineSpec("t", disks=(DiskSpec(MIB),), template=True))
    assert refused(lambda: template.take_snapshot("s")).fault == "NotSupported"
    disks = (DiskSpec(MIB), DiskSpec(MIB, mode="independent_persistent"))
    machine = state.create_machine(MachineSpec("i", disks=disks))
    machine.power_on()
    assert refused(lambda: machine.take_snapshot("s", memory=True)).fault == "MemorySnapshotOnIndependentDisk"
    node = machine.take_snapshot("s")
    machine.guest_write(1, 0, b"now")
    assert [len(disk.layers) for disk in machine.disks] == [2, 1]
    assert machine.frozen_reader(node.moref, 2001).read_at(0, 3) == b"now"


def test_quiescing(machine: Machine) -> None:
    machine.quiesce_fault = "FilesystemQuiesceFault"
    assert refused(lambda: machine.take_snapshot("s", quiesce=True)).fault == "FilesystemQuiesceFault"
    machine.quiesce_fault = ""
    assert machine.take_snapshot("s", quiesce=True).quiesced
    machine.tools_running = False
    assert not machine.take_snapshot("t", quiesce=True).quiesced


def test_no_growing_with_snapshots_and_no_shrinking(machine: Machine) -> None:
    assert refused(lambda: machine.grow_disk(2000, 2 * MIB)).fault == "InvalidDeviceOperation"
    machine.take_snapshot("s")
    assert refused(lambda: machine.grow_disk(2000, 8 * MIB)).fault == "InvalidDeviceOperation"


def test_power_states(state: LabState, machine: Machine) -> None:
    assert refused(machine.power_on).fault == "InvalidPowerState"
    assert refused(lambda: state.destroy(machine.moref)).fault == "InvalidPowerState"
    machine.power_off()
    assert refused(machine.power_off).fault == "InvalidPowerState"
    assert refused(machine.suspend).fault == "InvalidPowerState"


def test_names(state: LabState, machine: Machine) -> None:
    assert refused(lambda: state.create_machine(MachineSpec("m"))).fault == "DuplicateName"
    other = state.create_folder("group-v3", "other").moref
    twin = state.create_machine(MachineSpec("m", folder=other))
    assert refused(lambda: state.move_into("group-v3", twin.moref)).fault == "DuplicateName"
    with pytest.raises(InputError, match="2 VMs"):
        state.find_machine("m")
    assert state.find_machine("other/m") is twin
    with pytest.raises(NotFoundError):
        state.find_machine("nobody")


@pytest.mark.parametrize(
    "path", ["[datastore1] ../x", "[datastore1] a/../../x", "[datastore1] /etc/passwd", "x"]
)
def test_no_way_out_of_a_datastore(state: LabState, path: str) -> None:
    assert refused(lambda: state.resolve(path)).fault == "InvalidDatastorePath"


def test_a_full_datastore(state: LabState, machine: Machine) -> None:
    state.datastore("datastore1").set_free(0)
    assert refused(lambda: machine.take_snapshot("s")).fault == "NoDiskSpace"
    assert refused(lambda: machine.guest_write(0, 0, b"x")).fault == "NoDiskSpace"
    assert machine.snapshots == []
    assert len(machine.disks[0].layers) == 1
    state.datastore("datastore1").set_free(None)
    machine.take_snapshot("s")


def test_only_one_process_has_the_lab(state: LabState) -> None:
    with pytest.raises(LabBusyError):
        LabState.open(state.directory)
    with pytest.raises(InputError, match="holds a lab"):
        LabState.create(state.directory, "empty")
    with pytest.raises(InputError, match="no preset"):
        LabState.create(state.directory / "new", "smal")


def test_files_that_a_running_machine_holds(state: LabState, machine: Machine) -> None:
    assert state.locked_by("datastore1", "m/m-flat.vmdk") is machine
    machine.take_snapshot("s")
    assert state.locked_by("datastore1", "m/m-flat.vmdk") is None
    assert state.locked_by("datastore1", "m/m-000001-delta.vmdk") is machine
    machine.power_off()
    assert state.locked_by("datastore1", "m/m-000001-delta.vmdk") is None
