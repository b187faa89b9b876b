"""The client against the lab: every awkward kind of machine, change tracking, and 5,000 machines."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures_vsphere import add_machine, connect_to, running_lab
from vbm.cancel import CancelToken
from vbm.disk.extents import Extent
from vbm.errors import InputError, NotFoundError
from vbm.lab.machine import Machine
from vbm.lab.server import Lab
from vbm.units import KIB, MIB
from vbm.vsphere import cbt, config_capture, inventory, preflight, privileges, snapshots
from vbm.vsphere.faults import NoPrivilegeError
from vbm.vsphere.history import reverted_since
from vbm.vsphere.model import VirtualMachine, VmSnapshot
from vbm.vsphere.session import Session

GRAIN = 64 * KIB


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("awkward"), "awkward") as lab:
        yield lab


@pytest.fixture(scope="module")
def machines(awkward: Lab) -> dict[str, VirtualMachine]:
    with connect_to(awkward) as session:
        return {vm.name: vm for vm in inventory.list_vms(session, page_size=7)}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path / "lab") as running:
        yield running


@pytest.fixture
def session(lab: Lab) -> Iterator[Session]:
    with connect_to(lab) as connected:
        yield connected


def _snapshot(session: Session, machine: Machine, name: str) -> VmSnapshot:
    vm = inventory.get_vm(session, machine.moref)  # type: ignore[arg-type]
    return snapshots.create(session, vm, name, "", quiesce=False, cancel=CancelToken())


def _tracked(session: Session, machine: Machine) -> VmSnapshot:
    """Tracking on, and the first snapshot after it, already removed again."""
    vm = inventory.get_vm(session, machine.moref)  # type: ignore[arg-type]
    assert cbt.ensure_enabled(session, vm, CancelToken())
    first = _snapshot(session, machine, "vbm-first")
    snapshots.remove(session, vm.moref, "vbm-first")
    return first


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("template-linux", "template"),
        ("fault-tolerant", "Fault Tolerance"),
        ("vCLS-4c4c4544", "vCLS"),
    ],
)
def test_machines_that_are_skipped_say_why(machines: dict[str, VirtualMachine], name: str, word: str) -> None:
    assert word in machines[name].skip_reason
    assert not any(v.included for v in preflight.check(machines[name]))


@pytest.mark.parametrize(
    ("name", "included", "word"),
    [
        ("independent", [True, False], "independent_persistent"),
        ("independent-nonpersistent", [True, False], "independent_nonpersistent"),
        ("rdm-physical", [True, False], "physical mode"),
        ("rdm-virtual", [True, True], ""),
        ("shared-bus", [True, False], "bus sharing"),
        ("multi-writer", [True, False], "multi-writer"),
        ("encrypted", [True], "NFC"),
        ("thick", [True], ""),
        ("controllers", [True] * 4, ""),
        ("no-disks", [], ""),
        ("on-vsan", [True], ""),
    ],
)
def test_disks_are_judged_one_by_one(
    machines: dict[str, VirtualMachine], name: str, included: list[bool], word: str
) -> None:
    verdicts = preflight.check(machines[name])
    assert [v.included for v in verdicts] == included
    assert word in " ".join(v.reason for v in verdicts)


def test_the_kind_of_each_datastore_is_known(machines: dict[str, VirtualMachine]) -> None:
    kinds = {
        name: machines[name].disks[0].datastore_type for name in ("thick", "on-nfs", "on-nfs41", "on-vsan")
    }
    assert kinds == {"thick": "VMFS", "on-nfs": "NFS", "on-nfs41": "NFS41", "on-vsan": "vsan"}


def test_every_odd_name_is_found_as_people_write_it(
    awkward: Lab, machines: dict[str, VirtualMachine]
) -> None:
    expected = {machine.name for machine in awkward.state.machines.values()}
    assert set(machines) == expected
    with connect_to(awkward) as session:
        for name in sorted(expected - {"twin"}):
            assert inventory.find_vm(session, name).name == name


def test_twins_are_told_apart_by_path(awkward: Lab) -> None:
    with connect_to(awkward) as session:
        with pytest.raises(InputError) as caught:
            inventory.find_vm(session, "twin")
        assert "North/twin" in caught.value.message
        assert "South/East/twin" in caught.value.message
        assert inventory.find_vm(session, "North/twin").folder == "North"


def test_odd_names_are_captured_with_all_their_files(
    awkward: Lab, machines: dict[str, VirtualMachine]
) -> None:
    """Brackets, per cent signs and spaces in datastore and folder names survive the way through URLs."""
    with connect_to(awkward) as session:
        for vm in machines.values():
            if vm.skip_reason or not vm.disks or vm.name in ("rdm-physical", "shared-bus", "multi-writer"):
                continue
            made = snapshots.create(session, vm, "vbm-c", "", quiesce=False, cancel=CancelToken())
            try:
                captured = config_capture.capture(session, vm, made)
            finally:
                snapshots.remove(session, vm.moref, "vbm-c")
            names = {name for name, _content in captured.files}
            assert "vm.vmx" in names, (vm.name, captured.document["notes"])
            assert captured.document["name"] == vm.name
            assert {f"disk-{d.key}.vmdk" for d in made.disks} <= names, (vm.name, captured.document["notes"])


def test_what_a_read_only_account_lacks_is_named(awkward: Lab) -> None:
    with connect_to(awkward, username=awkward.read_only_username) as session:
        vm = inventory.find_vm(session, "thick")
        missing = privileges.missing_for_backup(session, vm.moref)
        assert missing is not None
        assert "VirtualMachine.State.CreateSnapshot" in {m.privilege.id for m in missing}
        assert "needed to make the snapshot" in missing[0].message
        with pytest.raises(NoPrivilegeError, match=r"VirtualMachine\.State\.CreateSnapshot"):
            snapshots.create(session, vm, "vbm-x", "", quiesce=False, cancel=CancelToken())


def test_tracking_tells_exactly_what_was_written_between_two_snapshots(lab: Lab, session: Session) -> None:
    machine = add_machine(lab, disks=2)
    first = _tracked(session, machine)
    machine.guest_write(0, 5 * GRAIN + 7, b"x" * 10)
    machine.guest_write(0, 9 * GRAIN - 1, b"yz")
    machine.guest_write(1, 0, b"other disk")
    second = _snapshot(session, machine, "vbm-second")
    machine.guest_write(0, 100 * GRAIN, b"after the snapshot")
    ask = lambda i: cbt.changed_areas(  # noqa: E731
        session,
        second.vm,
        second.moref,
        second.disks[i],
        first.disks[i].change_id,  # type: ignore[arg-type]
    )
    assert ask(0) == [Extent(5 * GRAIN, GRAIN), Extent(8 * GRAIN, 2 * GRAIN)]
    assert ask(1) == [Extent(0, GRAIN)]


def test_more_areas_than_a_page_holds_all_come(lab: Lab, session: Session) -> None:
    machine = add_machine(lab, size_bytes=1024 * MIB)
    first = _tracked(session, machine)
    grains = range(0, 2 * 5001, 2)
    with machine.quiet():
        for grain in grains:
            machine.guest_write(0, grain * GRAIN, b"z")
    second = _snapshot(session, machine, "vbm-second")
    areas = cbt.changed_areas(session, second.vm, second.moref, second.disks[0], first.disks[0].change_id)  # type: ignore[arg-type]
    assert areas == [Extent(g * GRAIN, GRAIN) for g in grains]
    asked = [
        line
        for line in (lab.directory / "events.jsonl").read_text().splitlines()
        if '"changed-areas"' in line
    ]
    assert len(asked) >= 3


def test_allocated_areas_cover_what_was_ever_written(lab: Lab, session: Session) -> None:
    machine = add_machine(lab)
    machine.guest_write(0, 3 * MIB, b"before tracking")
    _tracked(session, machine)
    machine.guest_write(0, 7 * MIB, b"after")
    made = _snapshot(session, machine, "vbm-second")
    areas = cbt.allocated_areas(session, made.vm, made.moref, made.disks[0])
    assert areas is not None
    for offset in (3 * MIB, 7 * MIB):
        assert any(a.start <= offset < a.end for a in areas)
    assert sum(a.length for a in areas) < 16 * MIB


@pytest.mark.parametrize("mischief", ["reset-cbt", "lose-power"])
def test_tracking_that_began_anew_is_not_used(lab: Lab, session: Session, mischief: str) -> None:
    machine = add_machine(lab)
    first = _tracked(session, machine)
    lab.fault(f"now object=web01 action={mischief}")
    if machine.power_state != "poweredOn":
        machine.power_on()
    second = _snapshot(session, machine, "vbm-second")
    with pytest.raises(cbt.CbtUnusableError):
        cbt.changed_areas(session, second.vm, second.moref, second.disks[0], first.disks[0].change_id)  # type: ignore[arg-type]


def test_a_reset_begins_tracking_anew_and_leaves_no_snapshot(lab: Lab, session: Session) -> None:
    machine = add_machine(lab)
    first = _tracked(session, machine)
    vm = inventory.get_vm(session, first.vm)
    cbt.reset(session, vm, CancelToken())
    assert machine.snapshots == []
    second = _snapshot(session, machine, "vbm-second")
    assert second.disks[0].change_id is not None
    assert cbt.tracking_of(second.disks[0].change_id) != cbt.tracking_of(first.disks[0].change_id or "")
    with pytest.raises(cbt.CbtResetError):
        cbt.reset(session, inventory.get_vm(session, first.vm), CancelToken())


def test_tracking_is_not_switched_on_over_an_existing_snapshot(lab: Lab, session: Session) -> None:
    machine = add_machine(lab)
    machine.take_snapshot("theirs")
    vm = inventory.get_vm(session, machine.moref)  # type: ignore[arg-type]
    assert not cbt.ensure_enabled(session, vm, CancelToken())
    assert not machine.change_tracking_enabled


def test_a_revert_is_seen_in_the_events(lab: Lab, session: Session) -> None:
    machine = add_machine(lab)
    since = lab.clock.now()
    assert reverted_since(session, machine.moref, since) is False  # type: ignore[arg-type]
    machine.take_snapshot("theirs")
    lab.fault("now object=web01 action=revert")
    assert reverted_since(session, machine.moref, since) is True  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("large"), "large") as running:
        yield running


def test_one_of_five_thousand_machines_is_found(large: Lab) -> None:
    with connect_to(large) as session:
        vm = inventory.find_vm(session, "vm-4321")
        assert (vm.name, vm.folder) == ("vm-4321", "Department 44")
        with pytest.raises(NotFoundError) as caught:
            inventory.find_vm(session, "vm4321")
        assert "vm-4321" in caught.value.hint


def test_a_pass_over_many_machines_holds_a_page_at_a_time(large: Lab) -> None:
    """The first page is there before the second is asked for, and only pages that are used are fetched."""
    with connect_to(large) as session:
        vms = inventory.list_vms(session, page_size=50)
        first = [next(vms) for _ in range(60)]
        assert len({vm.moref for vm in first}) == 60
        vms.close()  # type: ignore[attr-defined]


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_five_thousand_machines_come_in_bounded_memory(large: Lab) -> None:
    with connect_to(large) as session:
        seen: set[str] = set()
        tracemalloc.start()
        for vm in inventory.list_vms(session):
            seen.add(vm.moref)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(seen) == 5000
        assert peak < 200 * MIB
