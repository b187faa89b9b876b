"""The ready-made labs hold what they promise, and reopen as they were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vbm.clock import VirtualClock
from vbm.lab import awkward, ext4
from vbm.lab.model import ON, RDM, DiskSpec, LabFault, MachineSpec
from vbm.lab.state import LabState
from vbm.units import MIB, TIB


def made(folder: Path, preset: str) -> Iterator[LabState]:
    lab = LabState.create(folder, preset, VirtualClock())
    lab.close()
    lab = LabState.open(folder, VirtualClock())
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabState]:
    yield from made(tmp_path_factory.mktemp("chain") / "lab", "chain")


@pytest.fixture(scope="module")
def oddities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabState]:
    yield from made(tmp_path_factory.mktemp("awkward") / "lab", "awkward")


def test_small_has_two_machines_from_one_template(tmp_path: Path) -> None:
    for lab in made(tmp_path / "lab", "small"):
        web, db = lab.find_machine("web01"), lab.find_machine("db01")
        assert [len(web.disks), len(db.disks)] == [1, 2]
        assert web.power_state == db.power_state == ON
        assert ext4.is_ext(web.guest_read(0, 0, 2048)) == ext4.available()
        allocated = web.current_reader(web.disks[0].key).allocated()
        assert 100 * MIB < sum(length for _, length in allocated) < 350 * MIB


def test_chain_has_its_users_snapshots(chain: LabState) -> None:
    first, second = chain.find_machine("chain-vmfssparse"), chain.find_machine("chain-sesparse")
    assert [layer.format for layer in first.disks[0].layers] == ["flat", *["vmfsSparse"] * 3]
    assert [layer.format for layer in second.disks[0].layers] == ["flat", *["seSparse"] * 2]
    assert first.change_tracking_enabled
    assert first.disks[0].change_id is not None
    assert not second.change_tracking_enabled
    branched = chain.find_machine("chain-branched")
    assert len(branched.snapshots[0].children) == 2


def test_awkward_has_one_of_each(oddities: LabState) -> None:
    names = {machine.name for machine in oddities.machines.values()}
    assert set(awkward.ODD_NAMES) <= names
    assert oddities.find_machine("rdm-physical").disks[1].layers[0].format == RDM
    assert oddities.find_machine("on-vsan").disks[0].layers[0].extent_name.startswith("vsan://")
    assert not any(file.type == "diskExtent" for file in oddities.find_machine("on-vsan").layout())
    assert oddities.find_machine("template-linux").template
    assert oddities.inventory_path(oddities.find_machine("a/slash").moref) == "DC1/vm/a%2fslash"


def test_every_awkward_machine_takes_a_snapshot_or_says_why_not(oddities: LabState) -> None:
    refusals = {"shared-bus", "multi-writer", "fault-tolerant", "template-linux"}
    for machine in list(oddities.machines.values()):
        if machine.name in refusals:
            with pytest.raises(LabFault, match=r"SnapshotIncompatibleDeviceInVm|NotSupported"):
                machine.take_snapshot("s")
            continue
        seen = [machine.guest_read(index, 0, MIB) for index in range(len(machine.disks))]
        node = machine.take_snapshot("s")
        for index, disk in enumerate(node.config.disks):
            assert machine.frozen_reader(node.moref, disk.key).read_at(0, MIB) == seen[index]
        machine.remove_snapshot(node.moref)
        assert all(len(disk.layers) == 1 for disk in machine.disks)


def test_the_datastore_of_an_encrypted_machine_has_ciphertext(oddities: LabState) -> None:
    machine = oddities.find_machine("encrypted")
    plain = machine.guest_read(0, 0, MIB)
    stored = oddities.store.extent_path(machine.disks[0].layers[0]).read_bytes()[:MIB]
    assert any(plain)
    assert stored != plain
    machine.guest_write(0, 1000, b"across a sector's edge" * 30)
    assert machine.guest_read(0, 1000, 660) == b"across a sector's edge" * 30
    assert machine.guest_read(0, 2048, MIB - 2048) == plain[2048:]


def test_a_machine_that_is_registered_again(oddities: LabState) -> None:
    for name in ("with space", "ünïcödé ☃ 名前", "[brackets]", "two-datastores", "controllers"):
        machine = oddities.find_machine(name)
        seen = [machine.guest_read(index, 0, MIB) for index in range(len(machine.disks))]
        shape = [(disk.controller_key, disk.unit, disk.uuid) for disk in machine.disks]
        machine.power_off()
        oddities.unregister(machine.moref)
        again = oddities.register_machine(machine.vmx_path)
        assert (again.name, again.instance_uuid) == (name, machine.instance_uuid)
        assert [again.guest_read(index, 0, MIB) for index in range(len(again.disks))] == seen
        assert [(disk.controller_key, disk.unit, disk.uuid) for disk in again.disks] == shape


def test_large_is_metadata_until_it_is_touched(tmp_path: Path) -> None:
    for lab in made(tmp_path / "lab", "large"):
        assert len(lab.machines) == 5000
        machine = lab.find_machine("vm-4711")
        assert not lab.resolve(machine.vmx_path).exists()
        machine.take_snapshot("s")
        assert lab.resolve(machine.vmx_path).exists()
        lab.close()
        again = LabState.open(lab.directory, VirtualClock())
        assert len(again.find_machine("vm-4711").all_snapshots()) == 1
        again.close()


def test_a_disk_of_8_tib_costs_what_it_holds(tmp_path: Path) -> None:
    lab = LabState.create(tmp_path / "lab", "empty", VirtualClock())
    machine = lab.create_machine(
        MachineSpec("huge", disks=(DiskSpec(8 * TIB),), change_tracking_enabled=True)
    )
    machine.guest_write(0, 7 * TIB, b"far out")
    first = machine.take_snapshot("s")
    machine.guest_write(0, 5 * TIB, b"nearer")
    second = machine.take_snapshot("t")
    areas = machine.changed_areas(second.moref, 2000, 0, first.disk(2000).change_id or "").areas
    assert [(area.start, area.length) for area in areas] == [(5 * TIB, 65536)]
    assert machine.disks[0].layers[-1].format == "seSparse"
    assert [length for _, length in machine.frozen_reader(first.moref, 2000).allocated()] == [65536]
    machine.remove_all_snapshots()
    assert machine.guest_read(0, 5 * TIB, 6) + machine.guest_read(0, 7 * TIB, 7) == b"nearerfar out"
    used = sum(path.stat().st_blocks * 512 for path in lab.directory.rglob("*") if path.is_file())
    assert used < 16 * MIB
    lab.close()
