"""Whole VMs made anew in the lab: their disks, hardware, identity; and nothing left where it fails."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fixtures_vsphere import add_machine, connect_to, running_lab
from vbm.cancel import CancelToken
from vbm.disk.extents import Extent, ExtentKind
from vbm.disk.reader import Buffer
from vbm.errors import CancelledError, InputError, VbmError
from vbm.ids import DiskKey
from vbm.lab.machine import Machine
from vbm.lab.model import Controller, DiskSpec, MachineSpec, Nic
from vbm.lab.server import Lab
from vbm.progress import Silent
from vbm.units import MIB
from vbm.vsphere import config_capture, inventory, snapshots
from vbm.vsphere.faults import NoSpaceError
from vbm.vsphere.restore_spec import NameTakenError, PlacementError
from vbm.vsphere.restore_target import RestoreSpec, import_vm
from vbm.vsphere.session import Session

NEVER = CancelToken()


class BytesDisk:
    """A disk in memory, its zero megabytes known."""

    random_read = True

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.capacity_bytes = len(data)
        self.on_read: Any = lambda: None

    def extents(self) -> Iterator[Extent]:
        for start in range(0, len(self._data), MIB):
            part = self._data[start : start + MIB]
            kind = ExtentKind.DATA if any(part) else ExtentKind.ZERO
            yield Extent(start, len(part), kind)

    def readinto(self, offset: int, buffer: Buffer) -> None:
        self.on_read()
        buffer[:] = self._data[offset : offset + len(buffer)]

    def close(self) -> None:
        pass


@dataclass
class Saved:
    document: dict[str, Any]
    files: dict[str, bytes]
    disks: dict[DiskKey, BytesDisk]
    content: list[bytes]


class Noted(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.total = self.done = 0

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def disk(self, key: DiskKey, label: str, total_bytes: int) -> None:
        self.total += total_bytes

    def advance(self, key: DiskKey, size_bytes: int) -> None:
        self.done += size_bytes


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path / "lab") as running:
        running.state.mount_datastore("datastore2", "VMFS")
        running.state.mount_datastore("vsanDatastore", "vsan")
        yield running


@pytest.fixture
def session(lab: Lab) -> Iterator[Session]:
    with connect_to(lab) as connected:
        yield connected


def _save(session: Session, machine: Machine) -> Saved:
    vm = inventory.get_vm(session, machine.moref)  # type: ignore[arg-type]
    content = [machine.guest_read(i, 0, d.capacity_bytes) for i, d in enumerate(machine.disks)]
    snapshot = snapshots.create(session, vm, "vbm-save", "", quiesce=False, cancel=NEVER)
    captured = config_capture.capture(session, vm, snapshot)
    snapshots.remove(session, vm.moref, "vbm-save")
    disks = {d.key: BytesDisk(data) for d, data in zip(snapshot.disks, content, strict=True)}
    document = json.loads(json.dumps(captured.document))
    return Saved(document, dict(captured.files), disks, content)


def _machine(lab: Lab, name: str = "web01") -> Machine:
    """Two controllers, three disks, two adapters, EFI."""
    machine = lab.state.create_machine(
        MachineSpec(
            name,
            guest_id="debian12_64Guest",
            firmware="efi",
            cpus=4,
            cores_per_socket=2,
            memory_mb=3072,
            annotation="the shop: don't touch",
            controllers=(
                Controller(1000, "pvscsi", 0),
                Controller(1001, "lsilogicsas", 1),
                Controller(200, "ide"),
            ),
            disks=(
                DiskSpec(20 * MIB + 512, controller_key=1000, unit=3),
                DiskSpec(8 * MIB, controller_key=1001, unit=0, thin=False),
                DiskSpec(8 * MIB, controller_key=200, unit=1),
            ),
            nics=(Nic(4000, "VM Network", ""), Nic(4001, "Backup Network", "", "e1000")),
            extra_config={"disk.EnableUUID": "TRUE", "guestinfo.role": "shop", "scsi0.pciSlotNumber": "160"},
        )
    )
    machine.power_on()
    rng = random.Random(7)
    for index, disk in enumerate(machine.disks):
        for _ in range(4):
            offset = rng.randrange(0, disk.capacity_bytes - MIB, 512)
            machine.guest_write(index, offset, rng.randbytes(rng.randrange(512, MIB, 512)))
    return machine


def _restored(lab: Lab, moref: str) -> Machine:
    return lab.state.machines[moref]


def _same_disks(machine: Machine, saved: Saved) -> None:
    for index, content in enumerate(saved.content):
        assert machine.guest_read(index, 0, machine.disks[index].capacity_bytes) == content


@pytest.mark.parametrize("method", ["nfc", "upload"])
def test_a_new_vm_is_the_old_one_without_its_identity(lab: Lab, session: Session, method: Any) -> None:
    old = _machine(lab)
    saved = _save(session, old)
    progress = Noted()
    spec = RestoreSpec("web01 restored", power_on=True, method=method)
    moref = import_vm(session, saved.document, saved.disks, spec, progress, NEVER, files=saved.files)
    new = _restored(lab, moref)
    _same_disks(new, saved)
    assert progress.warnings == []
    assert progress.total > 0
    assert (new.name, new.power_state) == ("web01 restored", "poweredOn")
    config = new.config
    assert (config.cpus, config.cores_per_socket, config.memory_mb) == (4, 2, 3072)
    assert (config.firmware, config.guest_id) == ("efi", "debian12_64Guest")
    assert config.annotation == "the shop: don't touch"
    assert config.extra_config["disk.EnableUUID"] == "TRUE"
    places = [(d.controller_key, d.unit, d.capacity_bytes) for d in new.disks]
    assert places == [(d.controller_key, d.unit, d.capacity_bytes) for d in old.disks]
    assert [n.network for n in config.nics] == [n.network for n in old.config.nics]
    assert [n.kind for n in config.nics] == [n.kind for n in old.config.nics]
    assert {n.mac for n in config.nics}.isdisjoint(n.mac for n in old.config.nics)
    assert new.instance_uuid != old.instance_uuid
    assert new.bios_uuid != old.bios_uuid
    nvram = lab.state.resolve(new.vmx_path).with_suffix(".nvram")
    assert nvram.read_bytes() == saved.files["vm.nvram"]
    assert old.power_state == "poweredOn"


def test_identity_is_kept_when_asked_for(lab: Lab, session: Session) -> None:
    old = _machine(lab)
    saved = _save(session, old)
    macs = [n.mac for n in old.config.nics]
    uuid = old.instance_uuid
    old.power_off()
    lab.state.destroy(old.moref)
    spec = RestoreSpec("web01", keep_identity=True)
    new = _restored(lab, import_vm(session, saved.document, saved.disks, spec))
    assert [n.mac for n in new.config.nics] == macs
    assert new.instance_uuid == uuid
    assert new.power_state == "poweredOff"
    _same_disks(new, saved)


def test_another_datastore_folder_and_networks(lab: Lab, session: Session) -> None:
    saved = _save(session, _machine(lab))
    lab.state.create_folder("group-v3", "Restored/100%")
    spec = RestoreSpec(
        "wéb [1] 50%/x",
        datastore="vsanDatastore",
        folder="Restored/100%",
        host="esx02.lab.local",
        network_map={"VM Network": "Backup Network", "Backup Network": "-"},
    )
    new = _restored(lab, import_vm(session, saved.document, saved.disks, spec))
    assert new.datastore == "vsanDatastore"
    assert new.name == spec.name
    assert lab.state.folder_path(new).startswith("Restored%2f100%25/")
    assert new.host == "host-10"
    assert len(new.config.nics) == 1
    _same_disks(new, saved)


_REFUSED: list[tuple[dict[str, Any], type[VbmError], str]] = [
    ({"name": "web01"}, NameTakenError, "another name"),
    ({"name": " "}, InputError, "characters"),
    ({"name": "x" * 81}, InputError, "80"),
    ({"datastore": "datastore3"}, PlacementError, "datastore2"),
    ({"host": "esx03.lab.local"}, PlacementError, "esx02"),
    ({"folder": "no/such"}, PlacementError, "there are"),
    ({"resource_pool": "Cluster2"}, PlacementError, "Cluster1"),
    ({"datacenter": "DC2"}, PlacementError, "DC1"),
    ({"network_map": {"VM Network": "DMZ"}}, PlacementError, "Backup Network"),
    ({"method": "pigeon"}, InputError, "nfc"),
]


def test_what_cannot_be_is_refused_before_anything_is_made(lab: Lab, session: Session) -> None:
    saved = _save(session, _machine(lab))
    for change, error, hint in _REFUSED:
        with pytest.raises(error) as caught:
            import_vm(session, saved.document, saved.disks, replace(RestoreSpec("new"), **change))
        assert hint in caught.value.hint
    assert len(lab.state.machines) == 1
    assert lab.context.leases.all() == []


def test_disks_that_do_not_fit_on_the_datastore_are_refused(lab: Lab, session: Session) -> None:
    saved = _save(session, _machine(lab))
    lab.state.datastore("datastore2").set_free(MIB)
    with pytest.raises(NoSpaceError):
        import_vm(session, saved.document, saved.disks, RestoreSpec("new", datastore="datastore2"))
    assert len(lab.state.machines) == 1


def test_a_disk_of_another_size_than_configured_is_refused(lab: Lab, session: Session) -> None:
    saved = _save(session, add_machine(lab))
    saved.document["disks"][0]["capacity_bytes"] += 512
    with pytest.raises(InputError, match="configuration says"):
        import_vm(session, saved.document, saved.disks, RestoreSpec("new"))


@pytest.mark.parametrize("method", ["nfc", "upload"])
def test_a_cancelled_restore_leaves_nothing(lab: Lab, session: Session, method: Any) -> None:
    saved = _save(session, _machine(lab))
    cancel, progress = CancelToken(), Noted()
    list(saved.disks.values())[1].on_read = lambda: cancel.cancel("enough")
    before = {p.name for p in lab.state.datastore("datastore1").root.iterdir()}
    with pytest.raises(CancelledError):
        import_vm(session, saved.document, saved.disks, RestoreSpec("new", method=method), progress, cancel)
    assert progress.warnings == []
    assert len(lab.state.machines) == 1
    assert {p.name for p in lab.state.datastore("datastore1").root.iterdir()} == before


@pytest.mark.parametrize("method", ["nfc", "upload"])
def test_a_reader_that_fails_leaves_nothing(lab: Lab, session: Session, method: Any) -> None:
    saved = _save(session, _machine(lab))

    def fail() -> None:
        raise VbmError("a chunk is damaged")

    list(saved.disks.values())[1].on_read = fail
    before = {p.name for p in lab.state.datastore("datastore1").root.iterdir()}
    progress = Noted()
    with pytest.raises(VbmError, match="a chunk is damaged"):
        import_vm(session, saved.document, saved.disks, RestoreSpec("new", method=method), progress)
    assert progress.warnings == []
    assert len(lab.state.machines) == 1
    assert {p.name for p in lab.state.datastore("datastore1").root.iterdir()} == before


@pytest.mark.parametrize("how", ["busy", "lease ended"])
def test_an_import_that_breaks_off_begins_again(lab: Lab, session: Session, how: str) -> None:
    saved = _save(session, _machine(lab))
    disk = list(saved.disks.values())[1]

    def end_lease() -> None:
        disk.on_read = lambda: None
        for lease in lab.context.leases.all():
            lab.context.leases.end(lease, state="error")

    if how == "busy":
        lab.fault("/nfc status=503 count=1")
    else:
        disk.on_read = end_lease
    progress = Noted()
    moref = import_vm(session, saved.document, saved.disks, RestoreSpec("new", method="nfc"), progress)
    _same_disks(_restored(lab, moref), saved)
    assert len(lab.state.machines) == 2
    assert "begins again" in progress.notes[0]


def test_where_no_import_is_possible_the_files_are_uploaded(lab: Lab, session: Session) -> None:
    saved = _save(session, _machine(lab))
    lab.fault("ImportVApp fault=NotSupported")
    progress = Noted()
    moref = import_vm(session, saved.document, saved.disks, RestoreSpec("new"), progress)
    _same_disks(_restored(lab, moref), saved)
    assert "uploaded instead" in progress.notes[0]


def test_on_an_object_datastore_there_is_no_upload(lab: Lab, session: Session) -> None:
    saved = _save(session, add_machine(lab))
    lab.fault("ImportVApp fault=NotSupported")
    with pytest.raises(VbmError, match="NotSupported"):
        import_vm(session, saved.document, saved.disks, RestoreSpec("new", datastore="vsanDatastore"))
    assert len(lab.state.machines) == 1


def test_a_lease_is_kept_alive_while_the_repository_is_slow(lab: Lab, session: Session) -> None:
    saved = _save(session, add_machine(lab))
    machine_disk = saved.disks[DiskKey(2000)]
    lab.behaviour.lease_timeout_seconds = 1
    beats = []

    def slow() -> None:
        """Until the lab's lease has been renewed a few times beyond its time limit."""
        (lease,) = [x for x in lab.context.leases.all() if x.state == "ready"]
        first = lease.deadline
        while lease.deadline < first + 1.5 and lease.state == "ready":
            CancelToken().wait(0.05)
        beats.append(lease.deadline - first)

    machine_disk._data = b"\1" * MIB + machine_disk._data[MIB:]
    machine_disk.on_read = slow
    saved.content[0] = machine_disk._data
    moref = import_vm(session, saved.document, saved.disks, RestoreSpec("new", method="nfc"))
    _same_disks(_restored(lab, moref), saved)
    assert beats[0] >= 1.5


def test_a_vm_without_disks(lab: Lab, session: Session) -> None:
    saved = _save(session, lab.state.create_machine(MachineSpec("diskless")))
    moref = import_vm(session, saved.document, {}, RestoreSpec("new"))
    assert _restored(lab, moref).disks == []


def test_more_room_is_not_asked_for_than_there_is_data(lab: Lab, session: Session) -> None:
    saved = _save(session, add_machine(lab, size_bytes=64 * MIB))
    lab.state.datastore("datastore2").set_free(32 * MIB)
    moref = import_vm(session, saved.document, saved.disks, RestoreSpec("new", datastore="datastore2"))
    assert _restored(lab, moref).datastore == "datastore2"
    wishes = RestoreSpec("other", datastore="datastore2", method="upload")
    with pytest.raises(NoSpaceError, match="full"):
        import_vm(session, saved.document, saved.disks, wishes)


def _old_files(lab: Lab, machine: Machine) -> set[str]:
    return {p.name for p in lab.state.resolve(machine.vmx_path).parent.iterdir()}


@pytest.mark.parametrize("power_on", [False, True])
def test_disks_are_replaced_in_place(lab: Lab, session: Session, power_on: bool) -> None:
    machine = _machine(lab)
    saved = _save(session, machine)
    for index in range(3):
        machine.guest_write(index, 0, b"spoiled" * 1024)
    machine.power_off()
    before = (machine.config.nics, machine.instance_uuid, machine.config.memory_mb, _old_files(lab, machine))
    kept = [(d.controller_key, d.unit, d.capacity_bytes) for d in machine.disks]
    progress = Noted()
    spec = RestoreSpec(in_place=True, power_on=power_on)
    moref = import_vm(session, saved.document, saved.disks, spec, progress)
    assert moref == machine.moref
    assert len(lab.state.machines) == 1
    assert (machine.config.nics, machine.instance_uuid, machine.config.memory_mb) == before[:3]
    assert [(d.controller_key, d.unit, d.capacity_bytes) for d in machine.disks] == kept
    _same_disks(machine, saved)
    assert progress.warnings == []
    assert machine.power_state == ("poweredOn" if power_on else "poweredOff")
    root = lab.state.datastore("datastore1").root
    assert [p.name for p in root.iterdir() if p.name.startswith("vbm-restore")] == []
    assert {d.file_name.rpartition("/")[2] for d in machine.disks}.isdisjoint(before[3])
    assert {name for name in _old_files(lab, machine) if name.endswith(".vmdk")}.isdisjoint(before[3])


def test_one_disk_of_three_is_replaced(lab: Lab, session: Session) -> None:
    machine = _machine(lab)
    saved = _save(session, machine)
    machine.guest_write(0, 0, b"spoiled" * 1024)
    machine.guest_write(1, 0, b"kept" * 1024)
    machine.power_off()
    first = next(iter(saved.disks))
    import_vm(session, saved.document, {first: saved.disks[first]}, RestoreSpec(in_place=True))
    contents = [machine.guest_read(i, 0, d.capacity_bytes) for i, d in enumerate(machine.disks)]
    assert saved.content[0] in contents
    assert any(content.startswith(b"kept") for content in contents)


@pytest.mark.parametrize("state", ["on", "snapshot", "grown", "gone", "fewer"])
def test_in_place_is_refused_where_it_cannot_be_right(lab: Lab, session: Session, state: str) -> None:
    machine = _machine(lab)
    saved = _save(session, machine)
    if state != "on":
        machine.power_off()
    if state == "snapshot":
        machine.take_snapshot("mine", "")
    if state == "grown":
        machine.grow_disk(machine.disks[1].key, 16 * MIB)
    if state == "fewer":
        machine.detach_disk(machine.disks[1].key)
    if state == "gone":
        lab.state.destroy(machine.moref)
    with pytest.raises(VbmError) as caught:
        import_vm(session, saved.document, saved.disks, RestoreSpec(in_place=True))
    assert caught.value.hint
    assert lab.context.leases.all() == []


@pytest.mark.parametrize(
    "fault",
    [
        "MoveVirtualDisk_Task fault=FileLocked skip=1 count=9",
        "ReconfigVM_Task object=web01 fault=InvalidDeviceSpec count=9",
        "/nfc status=500 count=9",
    ],
)
def test_in_place_that_fails_changes_nothing(lab: Lab, session: Session, fault: str) -> None:
    machine = _machine(lab)
    saved = _save(session, machine)
    machine.power_off()
    machine.guest_write(0, 0, b"as it is now" * 1024)
    now = [machine.guest_read(i, 0, d.capacity_bytes) for i, d in enumerate(machine.disks)]
    names = [d.file_name for d in machine.disks]
    files = _old_files(lab, machine)
    lab.fault(fault)
    with pytest.raises(VbmError):
        import_vm(session, saved.document, saved.disks, RestoreSpec(in_place=True, method="nfc"))
    assert [d.file_name for d in machine.disks] == names
    assert [machine.guest_read(i, 0, d.capacity_bytes) for i, d in enumerate(machine.disks)] == now
    assert _old_files(lab, machine) == files
    assert len(lab.state.machines) == 1
    root = lab.state.datastore("datastore1").root
    assert [p.name for p in root.iterdir() if p.name.startswith("vbm-restore")] == []
