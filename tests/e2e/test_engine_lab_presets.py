"""Every machine of the lab's presets is backed up right, or refused with the reason; never wrong."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_lab import DISK, MIB, Rig, Watcher

from vbm.engine.errors import NothingToBackUpError
from vbm.engine.restore import restore_disk
from vbm.engine.result import BackupResult
from vbm.lab import ext4, guest
from vbm.lab.machine import Machine
from vbm.vsphere.snapshots import SnapshotFailedError

REFUSED = {
    "no-disks": "no disks",
    "template-linux": "template",
    "fault-tolerant": "Fault Tolerance",
    "vCLS-4c4c4544": "vCLS",
}
# vSphere itself makes no snapshot of these: one of their disks forbids it.
NO_SNAPSHOT = {"shared-bus", "multi-writer"}
NEEDS_NFC = {"on-vsan", "encrypted", "rdm-virtual"}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("chain"), "chain")
    yield made
    made.close()


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("awkward"), "awkward")
    yield made
    made.close()


class Witness(Watcher):
    """Keeps each disk as the snapshot froze it."""

    def __init__(self, rig: Rig, machine: Machine) -> None:
        super().__init__(downloading=self._look)
        self._rig, self._machine = rig, machine
        self.disks: dict[int, bytes] = {}

    def _look(self) -> None:
        for number, disk in enumerate(self._machine.disks):
            if disk.in_snapshots:
                self.disks[disk.key] = self._rig.frozen(self._machine, number)


def _backed_up(rig: Rig, machine: Machine, **options: object) -> BackupResult:
    witness = Witness(rig, machine)
    before = [n.name for n in machine.all_snapshots()]
    result = rig.backup(machine.moref, watcher=witness, **options)
    assert [n.name for n in machine.all_snapshots()] == before
    assert result.snapshot_removed
    for disk in result.disks:
        assert rig.stored(result.restore_point, disk.key) == witness.disks[disk.key], disk
    return result


@pytest.mark.parametrize("name", ["chain-vmfssparse", "chain-sesparse", "chain-branched"])
def test_a_machine_with_snapshots_is_read_through_its_chain(chain: Rig, name: str) -> None:
    machine = chain.lab.machine(name)
    first = _backed_up(chain, machine)
    machine.guest_write(0, 30 * MIB, b"changed" * 1000)
    second = _backed_up(chain, machine)
    if name == "chain-vmfssparse":  # the others were never tracked, and must not be while they have snapshots
        assert second.read_mode == "incremental"
        assert second.bytes_read <= 1.1 * second.bytes_changed
    else:
        assert second.read_mode == "full"
        assert second.bytes_new < first.bytes_new / 10


def test_every_awkward_machine_is_backed_up_right_or_refused_with_the_reason(awkward: Rig) -> None:
    seen = set()
    for machine in list(awkward.lab.state.machines.values()):
        name = machine.name
        seen.add(name)
        if name in REFUSED:
            with pytest.raises(NothingToBackUpError, match=REFUSED[name]):
                awkward.backup(machine.moref)
            continue
        if name in NO_SNAPSHOT:
            with pytest.raises(SnapshotFailedError, match="Hard disk 2 is incompatible"):
                awkward.backup(machine.moref)
            assert awkward.clean(machine)
            continue
        result = _backed_up(awkward, machine)
        manifest = awkward.repo.manifest(result.restore_point)
        assert len(manifest.disks) + len(manifest.excluded_disks) == len(machine.disks)
        assert all(disk["reason"] for disk in manifest.excluded_disks)
        assert ("nfc" in result.transport) == (name in NEEDS_NFC), name
    assert seen >= set(REFUSED) | NEEDS_NFC | NO_SNAPSHOT
    assert awkward.clean(machine)


def test_what_nfc_alone_can_read_is_read_whole_each_time_and_stored_once(awkward: Rig) -> None:
    machine = awkward.lab.machine("on-vsan")
    _backed_up(awkward, machine)
    again = _backed_up(awkward, machine)
    assert again.read_mode == "full"
    assert "whole disks" in again.disks[0].reason
    assert again.bytes_new == 0


def test_nfc_can_be_asked_for(chain: Rig) -> None:
    result = _backed_up(chain, chain.lab.machine("chain-branched"), transport="nfc")
    assert result.transport == "nfc"


def test_a_day_of_work_during_the_backup_leaves_a_consistent_file_system(chain: Rig, tmp_path: Path) -> None:
    if not ext4.available() or shutil.which("e2fsck") is None:
        pytest.skip("e2fsprogs is not installed")
    machine = chain.lab.machine("chain-vmfssparse")
    chain.backup(machine.moref)
    guest.day(machine, 0, seed=1, size_bytes=4 * MIB)
    witness = Witness(chain, machine)
    look = witness.on_phase["downloading"]

    def look_and_work() -> None:
        look()
        guest.day(machine, 0, seed=2, size_bytes=4 * MIB)

    witness.on_phase["downloading"] = look_and_work
    result = chain.backup(machine.moref, watcher=witness)
    assert result.read_mode == "incremental"
    assert result.bytes_read <= 1.1 * result.bytes_changed + MIB
    output = tmp_path / "out.raw"
    restore_disk(chain.repo, result.restore_point, DISK, output)
    assert output.read_bytes() == witness.disks[DISK]
    subprocess.run(["e2fsck", "-fn", str(output)], check=True, capture_output=True)
