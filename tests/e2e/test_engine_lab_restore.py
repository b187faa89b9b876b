"""A VM restored to the lab from the repository alone has the disks of the moment of its snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_lab import MIB, Rig, Watcher

from vbm.cancel import CancelToken
from vbm.disk.raw import RawDisk
from vbm.engine.image import backup_image
from vbm.engine.restore_vm import restore_vm
from vbm.errors import CancelledError, DamagedError, InputError
from vbm.ids import DiskKey, RestorePointId
from vbm.lab.machine import Machine
from vbm.vsphere.restore_spec import RestoreSpec


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def _disks(machine: Machine) -> list[bytes]:
    return [machine.guest_read(n, 0, d.capacity_bytes) for n, d in enumerate(machine.disks)]


def _restored(rig: Rig, point: RestorePointId, **spec: object) -> Machine:
    done = restore_vm(rig.session, rig.repo, point, RestoreSpec(name="back again", **spec))  # type: ignore[arg-type]
    assert done.disks == len(rig.repo.manifest(point).disks)
    return rig.lab.state.machine(done.moref)


@pytest.mark.parametrize("method", ["nfc", "upload"])
def test_a_new_machine_has_the_disks_of_the_restore_point(rig: Rig, method: str) -> None:
    machine = rig.machine(disks=2)
    rig.backup()
    machine.guest_write(0, 3 * MIB, b"second day" * 1000)
    expected = _disks(machine)
    point = rig.backup().restore_point
    machine.guest_write(0, 0, b"third day" * 1000)
    made = _restored(rig, point, method=method)
    assert made.name == "back again"
    assert made.power_state == "poweredOff"
    assert _disks(made) == expected
    assert made.moref != machine.moref


def test_the_original_may_be_gone(rig: Rig) -> None:
    machine = rig.machine()
    expected = _disks(machine)
    point = rig.backup().restore_point
    machine.power_off()
    rig.lab.state.destroy(machine.moref)
    assert _disks(_restored(rig, point, power_on=True)) == expected


def test_a_restored_machine_is_backed_up_as_one_of_its_own(rig: Rig) -> None:
    rig.machine()
    point = rig.backup().restore_point
    _restored(rig, point, power_on=True)
    result = rig.backup("back again")
    assert result.read_mode == "full"
    assert result.bytes_new == 0


class Cancelling(Watcher):
    """Cancels when a phase begins, or with the first bytes that are through."""

    def __init__(self, phase: str) -> None:
        self.token = CancelToken()
        super().__init__(**{phase: lambda: self.token.cancel("Ctrl-C")})
        self._at_once = not phase

    def advance(self, key: DiskKey, size_bytes: int) -> None:
        if self._at_once:
            self.token.cancel("Ctrl-C")


@pytest.mark.parametrize("when", ["connecting", ""])
def test_a_cancelled_restore_leaves_no_machine(rig: Rig, when: str) -> None:
    rig.machine(size=32 * MIB)
    point = rig.backup().restore_point
    watcher = Cancelling(when)
    with pytest.raises(CancelledError):
        restore_vm(
            rig.session, rig.repo, point, RestoreSpec(name="half"), progress=watcher, cancel=watcher.token
        )
    assert [m.name for m in rig.lab.state.machines.values()] == ["web01"]


def test_a_damaged_chunk_leaves_no_machine(rig: Rig, tmp_path: Path) -> None:
    rig.machine()
    point = rig.backup().restore_point
    for pack in (tmp_path / "repo/packs").rglob("*"):
        if pack.is_file():
            data = bytearray(pack.read_bytes())
            data[len(data) // 2] ^= 1
            pack.chmod(0o600)
            pack.write_bytes(data)
    with pytest.raises(DamagedError):
        restore_vm(rig.session, rig.repo, point, RestoreSpec(name="half"))
    assert [m.name for m in rig.lab.state.machines.values()] == ["web01"]


def test_an_image_is_no_machine(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "x.img").write_bytes(b"x" * MIB)
    point = backup_image(RawDisk(tmp_path / "x.img"), rig.repo).restore_point
    with pytest.raises(InputError, match="only disks"):
        restore_vm(rig.session, rig.repo, point, RestoreSpec(name="half"))
