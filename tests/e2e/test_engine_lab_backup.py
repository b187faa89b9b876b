"""Backups of lab machines over HTTPS: what is stored equals the disk at the instant of the snapshot."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from engine_lab import DISK, KIB, MIB, Rig, Watcher

from vbm.cancel import CancelToken
from vbm.engine.errors import NothingToBackUpError, SnapshotLostError, VmInUseError
from vbm.engine.ledger import Ledger, LedgerEntry
from vbm.engine.restore import restore_disk
from vbm.engine.sweep import sweep
from vbm.errors import CancelledError, NotFoundError, VbmError
from vbm.ids import DiskKey
from vbm.lab.machine import Machine
from vbm.lab.model import DiskSpec


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


class Witness(Watcher):
    """Keeps the disks as our snapshot froze them, and lets the guest write on while they are read."""

    def __init__(self, rig: Rig, machine: Machine) -> None:
        super().__init__(downloading=self._look)
        self._rig, self._machine = rig, machine
        self.disks: list[bytes] = []

    def _look(self) -> None:
        machine = self._machine
        self.disks = [self._rig.frozen(machine, n) for n in range(len(machine.disks))]
        for number in range(8):
            machine.guest_write(0, number * MIB, random.Random(number).randbytes(200 * KIB))


def _write(machine: Machine, count: int, seed: int = 1) -> None:
    source = random.Random(seed)
    for _ in range(count):
        machine.guest_write(0, source.randrange(0, 120) * 64 * KIB, source.randbytes(4 * KIB))


def test_full_then_incremental_equal_the_disk_at_their_snapshots(rig: Rig, tmp_path: Path) -> None:
    machine = rig.machine(disks=2)
    witness = Witness(rig, machine)
    first = rig.backup(watcher=witness)
    assert first.read_mode == "full"
    assert first.transport == "datastore-https"
    assert first.snapshot_removed
    assert rig.clean(machine)
    assert rig.stored(first.restore_point) == witness.disks[0]
    assert rig.stored(first.restore_point, DiskKey(2001)) == witness.disks[1]

    _write(machine, 20)
    second = rig.backup(watcher=witness)
    assert second.read_mode == "incremental"
    assert 0 < second.bytes_read <= 1.1 * second.bytes_changed
    assert second.bytes_changed < 5 * MIB
    assert second.bytes_audited > 0
    assert rig.stored(second.restore_point) == witness.disks[0]
    assert rig.stored(second.restore_point, DiskKey(2001)) == witness.disks[1]
    assert rig.clean(machine)

    restore_disk(rig.repo, second.restore_point, DISK, tmp_path / "out.raw")
    assert (tmp_path / "out.raw").read_bytes() == witness.disks[0]
    manifest = rig.repo.manifest(second.restore_point)
    assert manifest.parent == first.restore_point
    assert manifest.config["name"] == "web01"
    assert {f.path for f in manifest.files} >= {"vm.vmx", "disk-2000.vmdk", "disk-2000.map"}


def test_a_powered_off_machine_is_backed_up(rig: Rig) -> None:
    machine = rig.machine(on=False)
    content = machine.guest_read(0, 0, 8 * MIB)
    assert rig.stored(rig.backup().restore_point) == content
    machine.guest_write(0, 5 * MIB, b"x" * 4096)
    second = rig.backup()
    assert rig.stored(second.restore_point)[5 * MIB : 5 * MIB + 4096] == b"x" * 4096
    assert rig.clean(machine)


def test_three_backups_in_a_row_stay_incremental(rig: Rig) -> None:
    machine = rig.machine()
    rig.backup()
    for seed in range(3):
        _write(machine, 5, seed)
        witness = Witness(rig, machine)
        result = rig.backup(watcher=witness)
        assert result.read_mode == "incremental"
        assert rig.stored(result.restore_point) == witness.disks[0]


def test_an_active_full_says_that_it_was_asked_for(rig: Rig) -> None:
    rig.machine()
    rig.backup()
    result = rig.backup(mode="full")
    assert result.read_mode == "full"
    assert result.disks[0].reason == "a full read was asked for"
    assert result.bytes_new == 0


def test_a_disk_that_grew_is_read_whole(rig: Rig) -> None:
    machine = rig.machine()
    rig.backup()
    machine.grow_disk(2000, 10 * MIB)
    machine.guest_write(0, 9 * MIB, b"new" * 1000)
    witness = Witness(rig, machine)
    result = rig.backup(watcher=witness)
    assert "capacity changed" in result.disks[0].reason
    assert rig.stored(result.restore_point) == witness.disks[0]
    assert len(witness.disks[0]) == 10 * MIB


def test_tracking_that_was_begun_anew_makes_a_full(rig: Rig) -> None:
    machine = rig.machine()
    rig.backup()
    machine.reset_change_tracking()
    _write(machine, 3)
    witness = Witness(rig, machine)
    result = rig.backup(watcher=witness)
    assert "begun anew" in result.disks[0].reason
    assert rig.stored(result.restore_point) == witness.disks[0]


def test_changes_that_tracking_lost_are_found_by_the_audit(rig: Rig) -> None:
    machine = rig.machine()
    rig.backup()
    _write(machine, 100)
    machine.lose_changes()
    witness = Witness(rig, machine)
    result = rig.backup(watcher=witness, audit_chunks=32)
    assert result.read_mode == "full"
    assert "audit" in result.disks[0].reason
    assert any("missed" in warning for warning in result.warnings)
    assert rig.stored(result.restore_point) == witness.disks[0]
    assert rig.repo.manifest(result.restore_point).disk(DISK).change_id is None
    assert any("reset" in note for note in result.notes)
    after = rig.backup()
    assert after.read_mode == "full"
    assert rig.backup().read_mode == "incremental"


def test_a_snapshot_that_a_reset_of_tracking_left_is_removed(rig: Rig) -> None:
    machine = rig.machine()
    ledger, entries = Ledger(rig.home), list[LedgerEntry]()
    rig.backup(watcher=Watcher(compressing=lambda: entries.extend(ledger.entries())))
    (entry,) = entries
    machine.take_snapshot("vbm-cbt-reset-20260101T000000000-0000000000")
    ledger.record(replace(entry, snapshot=f"vbm-cbt-reset-{entry.run_id}"))
    ledger.release(f"vbm-cbt-reset-{entry.run_id}")
    result = rig.backup()
    assert result.warnings == ()
    assert rig.clean(machine)


def test_a_replaced_disk_is_read_whole(rig: Rig) -> None:
    machine = rig.machine()
    rig.backup()
    machine.power_off()
    machine.detach_disk(2000)
    machine.attach_disk(DiskSpec(capacity_bytes=8 * MIB, key=2000))
    machine.power_on()
    result = rig.backup()
    assert "replaced" in result.disks[0].reason or "begun anew" in result.disks[0].reason
    assert rig.stored(result.restore_point) == bytes(8 * MIB)


def test_an_added_disk_is_read_whole_and_the_other_one_stays_incremental(rig: Rig) -> None:
    machine = rig.machine()
    rig.backup()
    machine.attach_disk(DiskSpec(capacity_bytes=2 * MIB))
    result = rig.backup()
    assert {d.key: d.read_mode for d in result.disks} == {2000: "incremental", 2001: "full"}


def test_an_excluded_disk_is_noted_in_the_manifest(rig: Rig) -> None:
    machine = rig.machine(disks=2)
    machine.edit_disk(2001, mode="independent_persistent")
    result = rig.backup()
    (excluded,) = rig.repo.manifest(result.restore_point).excluded_disks
    assert excluded["disk_key"] == 2001
    assert "independent" in excluded["reason"]
    with pytest.raises(NothingToBackUpError, match="excluded"):
        rig.backup(exclude_disks=frozenset({DISK}))
    with pytest.raises(NothingToBackUpError, match="no disk 2009"):
        rig.backup(exclude_disks=frozenset({DiskKey(2009)}))


def test_renamed_and_moved_it_is_the_same_vm(rig: Rig) -> None:
    machine = rig.machine()
    rig.backup()
    rig.lab.state.rename(machine.moref, "other name [1] %")
    machine.relocate(host=next(h for h in rig.lab.state.hosts if h != machine.host))
    result = rig.backup(machine.moref)
    assert result.read_mode == "incremental"


def test_somebody_elses_snapshots_are_read_through_and_kept(rig: Rig) -> None:
    machine = rig.machine()
    machine.take_snapshot("before the update")
    _write(machine, 10)
    machine.take_snapshot("after the update")
    _write(machine, 10, seed=2)
    witness = Witness(rig, machine)
    result = rig.backup(watcher=witness)
    assert rig.stored(result.restore_point) == witness.disks[0]
    assert [n.name for n in machine.all_snapshots()] == ["before the update", "after the update"]


def test_a_lost_session_in_the_middle_of_reading_is_no_matter(rig: Rig) -> None:
    machine = rig.machine()
    witness = Witness(rig, machine)
    rig.lab.fault("/folder action=expire-sessions skip=6 count=1")
    result = rig.backup(watcher=witness)
    assert rig.stored(result.restore_point) == witness.disks[0]
    assert rig.clean(machine)


def test_a_machine_deleted_while_it_is_read_ends_in_a_clear_error(rig: Rig) -> None:
    machine = rig.machine()
    watcher = Watcher(downloading=lambda: rig.lab.state.vanish(machine.moref))
    with pytest.raises(NotFoundError):
        rig.backup(watcher=watcher)
    assert not list(rig.repo.restore_points())
    assert rig.clean(machine)


def test_a_storage_migration_while_reading_discards_what_was_read(rig: Rig) -> None:
    machine = rig.machine()
    rig.lab.state.mount_datastore("datastore2", "VMFS")
    watcher = Watcher(compressing=lambda: machine.relocate(datastore="datastore2"))
    with pytest.raises(SnapshotLostError, match="moved"):
        rig.backup(watcher=watcher)
    assert not list(rig.repo.restore_points())
    assert rig.clean(machine)


def test_a_snapshot_removed_by_somebody_while_reading_discards_what_was_read(rig: Rig) -> None:
    machine = rig.machine()
    watcher = Watcher(compressing=machine.remove_all_snapshots)
    with pytest.raises(SnapshotLostError, match="removed"):
        rig.backup(watcher=watcher)
    assert not list(rig.repo.restore_points())
    assert rig.clean(machine)


def test_cancelling_removes_the_snapshot(rig: Rig) -> None:
    machine = rig.machine()
    cancel = CancelToken()
    watcher = Watcher(downloading=lambda: cancel.cancel("SIGTERM"))
    with pytest.raises(CancelledError, match="SIGTERM"):
        rig.backup(watcher=watcher, cancel=cancel)
    assert "cleanup" in watcher.phases
    assert rig.clean(machine)


def test_a_snapshot_that_cant_be_removed_stays_in_the_ledger_until_it_can(rig: Rig) -> None:
    machine = rig.machine()
    rig.lab.fault("RemoveSnapshot_Task fault=FileLocked")
    result = rig.backup()
    assert not result.snapshot_removed
    assert any("not removed" in warning for warning in result.warnings)
    assert rig.stored(result.restore_point)
    assert len(rig.ours(machine)) == 1
    rig.lab.rules.clear()
    (swept,) = sweep(rig.session, rig.context())
    assert swept.removed
    assert rig.clean(machine)


def test_a_stale_snapshot_of_ours_is_removed_before_the_next_backup(rig: Rig) -> None:
    machine = rig.machine()
    rig.lab.fault("RemoveSnapshot_Task fault=FileLocked")
    rig.backup()
    rig.lab.rules.clear()
    result = rig.backup()
    assert result.read_mode == "incremental"
    assert rig.clean(machine)


def test_a_guest_that_cant_be_quieted_is_backed_up_crash_consistent_or_not_at_all(rig: Rig) -> None:
    machine = rig.machine()
    machine.quiesce_fault = "ApplicationQuiesceFault"
    with pytest.raises(VbmError) as raised:
        rig.backup(quiesce=True, quiesce_fallback=False)
    assert raised.value.code == "quiesce-failed"
    assert rig.clean(machine)
    result = rig.backup(quiesce=True)
    assert result.consistency == "crash"
    assert any("crash-consistent" in warning for warning in result.warnings)


def test_two_backups_of_one_vm_at_once_are_refused(rig: Rig) -> None:
    rig.machine()
    errors: list[BaseException] = []

    def second() -> None:
        try:
            rig.backup()
        except VbmError as error:
            errors.append(error)

    def begin() -> None:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    rig.backup(watcher=Watcher(downloading=begin))
    assert [type(e) for e in errors] == [VmInUseError]


def test_a_snapshot_of_another_installation_is_left_alone_and_told(rig: Rig) -> None:
    machine = rig.machine()
    machine.take_snapshot("vbm-of-somebody-else")
    result = rig.backup()
    assert any("vbm-of-somebody-else" in warning for warning in result.warnings)
    assert rig.ours(machine) == ["vbm-of-somebody-else"]


def test_the_incremental_costs_the_network_by_the_changes_and_not_by_the_size(rig: Rig) -> None:
    machine = rig.machine(size=256 * MIB)
    rig.backup()
    source = random.Random(5)
    for _ in range(40):
        machine.guest_write(0, source.randrange(4096) * 64 * KIB, b"x" * 4096)
    sent = _bytes_sent(rig)
    result = rig.backup(audit_chunks=2)
    assert result.read_mode == "incremental"
    assert result.bytes_read <= 1.1 * result.bytes_changed
    assert result.bytes_audited <= 512 * KIB
    assert _bytes_sent(rig) - sent <= 1.1 * result.bytes_changed + MIB + result.bytes_audited


def _bytes_sent(rig: Rig) -> int:
    """What the lab has given out of its datastores so far, as its own log says."""
    lines = (rig.lab.directory / "events.jsonl").read_text().splitlines()
    return sum(event["length"] for event in map(json.loads, lines) if event["event"] == "get-end")
