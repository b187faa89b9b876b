"""What the lab writes, opened by programs of others: qemu-img the chains, e2fsck the file systems."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vbm.clock import VirtualClock
from vbm.lab import content, ext4, guest
from vbm.lab.machine import Machine
from vbm.lab.model import SE_SPARSE, VMFS_SPARSE, DiskSpec, MachineSpec
from vbm.lab.state import LabState
from vbm.units import MIB

needs_e2fsprogs = pytest.mark.skipif(not ext4.available(), reason="mke2fs and debugfs are not installed")
needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[LabState]:
    lab = LabState.create(tmp_path / "lab", "empty", VirtualClock())
    yield lab
    lab.close()


def head(state: LabState, machine: Machine) -> Path:
    return state.resolve(machine.disks[0].file_name)


@needs_qemu
@pytest.mark.parametrize("kind", [VMFS_SPARSE, SE_SPARSE])
@pytest.mark.parametrize("depth", [1, 3])
def test_qemu_reads_the_chain_as_the_guest_does(
    state: LabState, tmp_path: Path, kind: str, depth: int
) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(content.noise(8 * MIB, "disk"))
    machine = guest.create_vm_from_raw(state, "m", [image], snapshots=depth, delta_format=kind)
    assert machine.guest_read(0, 0, 8 * MIB) == image.read_bytes()
    argv = ["qemu-img", "compare", "-f", "vmdk", "-F", "raw", str(head(state, machine)), str(image)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "identical" in done.stdout, done.stdout + done.stderr
    node = machine.snapshots[0]
    frozen = tmp_path / "frozen.raw"
    frozen.write_bytes(machine.frozen_reader(node.moref, 2000).read_at(0, 8 * MIB))
    argv[-2:] = [str(state.resolve(node.disk(2000).file_name)), str(frozen)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "identical" in done.stdout, done.stdout + done.stderr


@needs_e2fsprogs
def test_a_days_work_leaves_a_sound_file_system_at_every_snapshot(state: LabState, tmp_path: Path) -> None:
    image, tree = tmp_path / "disk.raw", tmp_path / "tree"
    content.fill_system(tree, 4 * MIB, "test")
    ext4.make(image, 32 * MIB, tree, "test")
    machine = guest.create_vm_from_raw(state, "m", [image], power_on=True)
    machine.set_change_tracking(True)
    first = machine.take_snapshot("first")
    report = guest.day(machine, 0, seed=1, size_bytes=3 * MIB)
    second = machine.take_snapshot("second")
    guest.day(machine, 0, seed=2, size_bytes=3 * MIB)
    assert report.file_system == "ext4"
    assert report.files_written
    assert report.files_deleted
    assert report.files_changed
    for node in (first, second):
        copy = tmp_path / f"{node.name}.raw"
        copy.write_bytes(machine.frozen_reader(node.moref, 2000).read_at(0, 32 * MIB))
        sound, output = ext4.check(copy)
        assert sound, output
    guest.dump(machine, 0, tmp_path / "now.raw")
    sound, output = ext4.check(tmp_path / "now.raw")
    assert sound, output
    assert (tmp_path / "now.raw").read_bytes() == machine.guest_read(0, 0, 32 * MIB)
    changed = machine.changed_areas(second.moref, 2000, 0, first.disk(2000).change_id or "")
    before, after = image.read_bytes(), (tmp_path / "second.raw").read_bytes()
    for area in changed.areas:
        before = (
            before[: area.start]
            + after[area.start : area.start + area.length]
            + before[area.start + area.length :]
        )
    assert before == after


@needs_e2fsprogs
def test_the_same_day_on_the_same_disk_is_the_same(state: LabState, tmp_path: Path) -> None:
    image, tree = tmp_path / "disk.raw", tmp_path / "tree"
    content.fill_data(tree, 2 * MIB, "test")
    ext4.make(image, 16 * MIB, tree, "test")
    machines = [guest.create_vm_from_raw(state, name, [image]) for name in ("a", "b")]
    reports = [guest.day(machine, 0, seed=5, size_bytes=MIB) for machine in machines]
    assert reports[0].files_written == reports[1].files_written
    assert reports[0].files_changed == reports[1].files_changed


def test_a_day_without_a_file_system(state: LabState) -> None:
    machine = state.create_machine(MachineSpec("m", disks=(DiskSpec(4 * MIB),)))
    report = guest.day(machine, 0, seed=1, size_bytes=MIB)
    assert report.file_system == "none"
    assert report.grains_written
