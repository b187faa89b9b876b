"""Both transports against the lab: every disk read equals what the guest had at the snapshot."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fixtures_transport import QUICK, QUICK_GATE
from fixtures_vsphere import add_machine, connect_to, running_lab
from vbm.cancel import CancelToken
from vbm.disk.reader import DiskReader
from vbm.errors import InputError
from vbm.ids import DiskKey
from vbm.lab.machine import Machine
from vbm.lab.model import SE_SPARSE, VMFS_SPARSE, DiskSpec, MachineSpec
from vbm.lab.server import Lab
from vbm.units import KIB, MIB
from vbm.vsphere import inventory, snapshots
from vbm.vsphere.model import VirtualMachine, VmSnapshot
from vbm.vsphere.session import Session
from vbm.vsphere.transports.base import Transport, TransportUnsuitableError
from vbm.vsphere.transports.choose import open_transport
from vbm.vsphere.transports.datastore_https import DatastoreHttps, Options
from vbm.vsphere.transports.errors import SnapshotMovedError, StreamBrokenError
from vbm.vsphere.transports.frozen import check_still_frozen
from vbm.vsphere.transports.host_gate import HostGates
from vbm.vsphere.transports.nfc import Nfc
from vbm.vsphere.transports.tickets import ticket_route

NEVER = CancelToken()


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("awkward"), "awkward") as lab:
        yield lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path / "lab") as running:
        yield running


def _freeze(session: Session, name: str) -> tuple[VirtualMachine, VmSnapshot]:
    vm = inventory.find_vm(session, name)
    return vm, snapshots.create(session, vm, "vbm-transport", "", quiesce=False, cancel=NEVER)


def _content(machine: Machine, index: int) -> bytes:
    return machine.guest_read(index, 0, machine.disks[index].capacity_bytes)


def _whole(reader: DiskReader, step: int = MIB) -> bytes:
    data = bytearray(reader.capacity_bytes)
    view = memoryview(data)
    for offset in range(0, len(data), step):
        reader.readinto(offset, view[offset : offset + step])
    return bytes(data)


def _read(transport: Transport, key: DiskKey) -> bytes:
    reader = transport.open(key, NEVER)
    try:
        return _whole(reader)
    finally:
        reader.close()


def _scribble(machine: Machine, index: int = 0, seed: int = 1) -> None:
    rng = random.Random(seed)
    capacity = machine.disks[index].capacity_bytes
    for _ in range(8):
        offset = rng.randrange(0, capacity - 300 * KIB, 512)
        machine.guest_write(index, offset, rng.randbytes(rng.randrange(512, 300 * KIB, 512)))


def _chained(lab: Lab, delta_format: str) -> Machine:
    """A machine with a history: three snapshots of its user's, a revert, a branch."""
    disks = (DiskSpec(40 * MIB + 512, delta_format=delta_format), DiskSpec(8 * MIB))
    machine = lab.state.create_machine(MachineSpec("web01", disks=disks))
    machine.power_on()
    for number in range(3):
        _scribble(machine, 0, number)
        machine.guest_zero(0, number * 3 * MIB, MIB)
        machine.take_snapshot(f"before {number}", "")
    machine.revert(machine.all_snapshots()[1].moref)
    _scribble(machine, 0, 77)
    machine.take_snapshot("branch", "")
    _scribble(machine, 0, 78)
    return machine


@pytest.mark.parametrize("delta_format", [VMFS_SPARSE, SE_SPARSE])
@pytest.mark.parametrize("kind", ["datastore-https", "nfc"])
def test_a_disk_with_snapshots_is_read_through_its_chain(lab: Lab, delta_format: str, kind: str) -> None:
    machine = _chained(lab, delta_format)
    with connect_to(lab) as session:
        wanted = [_content(machine, i) for i in range(len(machine.disks))]
        vm, snapshot = _freeze(session, "web01")
        assert snapshot.disks[0].chain_depth == 4
        try:
            _scribble(machine)
            transport, reason = open_transport(
                session, vm, snapshot, [d.key for d in snapshot.disks], prefer=kind
            )
            try:
                assert "asked for" in reason
                for disk, content in zip(snapshot.disks, wanted, strict=True):
                    assert _read(transport, disk.key) == content
            finally:
                transport.close()
            check_still_frozen(session, vm, snapshot)
        finally:
            snapshots.remove(session, vm.moref, snapshot.name)


@pytest.mark.parametrize(
    ("name", "kind", "word"),
    [
        ("odd-size", "datastore-https", "VMFS"),
        ("controllers", "datastore-https", "VMFS"),
        ("on-nfs41", "datastore-https", "NFS41"),
        ("on-vsan", "nfc", "vsan"),
        ("encrypted", "nfc", "ciphertext"),
        ("ünïcödé ☃ 名前", "datastore-https", "VMFS"),
        ("100% sure", "datastore-https", "VMFS"),
        ("[brackets]", "datastore-https", "VMFS"),
        ("a/slash", "datastore-https", "VMFS"),
        ("q?&=#+plus", "datastore-https", "VMFS"),
    ],
)
def test_the_choice_for_each_awkward_machine_reads_it_right(
    awkward: Lab, name: str, kind: str, word: str
) -> None:
    machine = awkward.machine(name)
    with connect_to(awkward) as session:
        wanted = [_content(machine, i) for i in range(len(machine.disks))]
        vm, snapshot = _freeze(session, name)
        transport, reason = open_transport(session, vm, snapshot, [d.key for d in snapshot.disks])
        try:
            assert transport.capabilities.name == kind
            assert word in reason
            for disk, content in zip(snapshot.disks, wanted, strict=True):
                reader = transport.open(disk.key, NEVER)
                for start in (0, 8 * MIB + 512, len(content) - MIB):
                    buffer = bytearray(MIB)
                    reader.readinto(start, buffer)
                    assert buffer == content[start : start + MIB]
                reader.close()
        finally:
            transport.close()
            snapshots.remove(session, vm.moref, snapshot.name)


def test_a_disk_that_one_transport_cannot_read_is_named(awkward: Lab) -> None:
    with connect_to(awkward) as session:
        vm, snapshot = _freeze(session, "rdm-virtual")
        transport, reason = open_transport(session, vm, snapshot, [d.key for d in snapshot.disks])
        try:
            assert transport.capabilities.name == "datastore-https"
            assert "rdm-virtual" in reason
            with pytest.raises(TransportUnsuitableError, match="rdm-virtual"):
                transport.open(snapshot.disks[1].key, NEVER)
        finally:
            transport.close()
            snapshots.remove(session, vm.moref, snapshot.name)


def test_what_is_asked_for_by_name_is_not_replaced(awkward: Lab) -> None:
    with connect_to(awkward) as session:
        vm, snapshot = _freeze(session, "on-vsan")
        keys = [d.key for d in snapshot.disks]
        try:
            with pytest.raises(TransportUnsuitableError, match="vsan"):
                open_transport(session, vm, snapshot, keys, prefer="datastore-https")
            with pytest.raises(InputError):
                open_transport(session, vm, snapshot, keys, prefer="pigeon")
        finally:
            snapshots.remove(session, vm.moref, snapshot.name)


def test_the_snapshot_is_read_while_the_guest_writes_by_many_threads(lab: Lab) -> None:
    machine = add_machine(lab, disks=2)
    _scribble(machine, 0, 3)
    _scribble(machine, 1, 4)
    wanted = [_content(machine, i) for i in (0, 1)]
    with connect_to(lab) as session:
        vm, snapshot = _freeze(session, "web01")
        transport = DatastoreHttps(session, vm, snapshot)
        readers = [transport.open(d.key, NEVER) for d in snapshot.disks]

        def part(number: int) -> tuple[int, int, bytes]:
            disk, offset = number % 2, number // 2 * MIB
            buffer = bytearray(MIB)
            readers[disk].readinto(offset, buffer)
            _scribble(machine, disk, number)
            return disk, offset, bytes(buffer)

        with ThreadPoolExecutor(6) as threads:
            for disk, offset, data in threads.map(part, range(32)):
                assert data == wanted[disk][offset : offset + MIB]
        transport.close()
        snapshots.remove(session, vm.moref, snapshot.name)


def test_a_session_that_ends_in_the_middle_of_a_read_is_renewed(lab: Lab) -> None:
    machine = add_machine(lab)
    _scribble(machine)
    wanted = _content(machine, 0)
    with connect_to(lab) as session:
        vm, snapshot = _freeze(session, "web01")
        transport = DatastoreHttps(session, vm, snapshot)
        reader = transport.open(snapshot.disks[0].key, NEVER)
        buffer = bytearray(len(wanted))
        view = memoryview(buffer)
        for number, offset in enumerate(range(0, len(wanted), MIB)):
            if number % 5 == 2:
                lab.expire_sessions()
            reader.readinto(offset, view[offset : offset + MIB])
        assert buffer == wanted
        transport.close()
        snapshots.remove(session, vm.moref, snapshot.name)


@pytest.mark.parametrize(
    "fault",
    [
        "/folder reset after=100000 count=3",
        "/folder short count=3",
        "/folder wrong-range count=3",
        "/folder status=503 retry-after=0 count=4",
    ],
)
def test_faults_of_the_lab_are_survived(lab: Lab, fault: str) -> None:
    machine = add_machine(lab)
    _scribble(machine)
    wanted = _content(machine, 0)
    with connect_to(lab) as session:
        vm, snapshot = _freeze(session, "web01")
        transport = DatastoreHttps(session, vm, snapshot, Options(HostGates(QUICK_GATE), QUICK))
        reader = transport.open(snapshot.disks[0].key, NEVER)
        lab.fault(fault)
        assert _whole(reader, 4 * MIB) == wanted
        transport.close()
        snapshots.remove(session, vm.moref, snapshot.name)


def test_a_snapshot_that_vanished_or_moved_is_noticed(lab: Lab) -> None:
    add_machine(lab)
    with connect_to(lab) as session:
        vm, snapshot = _freeze(session, "web01")
        check_still_frozen(session, vm, snapshot)
        snapshots.remove(session, vm.moref, snapshot.name)
        with pytest.raises(SnapshotMovedError):
            check_still_frozen(session, vm, snapshot)


def test_an_export_is_kept_alive_and_completed(tmp_path: Path) -> None:
    with running_lab(tmp_path / "lab") as lab, connect_to(lab) as session:
        lab.behaviour.lease_timeout_seconds = 1
        lab.behaviour.lease_host_star = True
        machine = add_machine(lab, disks=2)
        _scribble(machine, 1)
        wanted = [_content(machine, i) for i in (0, 1)]
        vm, snapshot = _freeze(session, "web01")
        lab.fault("/nfc delay=1.5 count=1")
        transport = Nfc(session, vm, snapshot)
        for disk, content in zip(snapshot.disks, wanted, strict=True):
            assert _read(transport, disk.key) == content
        (lease,) = lab.context.leases.all()
        assert lease.state == "ready"
        transport.close()
        transport.close()
        assert lease.state == "done"
        snapshots.remove(session, vm.moref, snapshot.name)


@pytest.mark.parametrize("how", ["reset", "short"])
def test_an_export_that_breaks_off_is_an_error_and_can_be_begun_again(lab: Lab, how: str) -> None:
    machine = add_machine(lab)
    _scribble(machine)
    wanted = _content(machine, 0)
    with connect_to(lab) as session:
        vm, snapshot = _freeze(session, "web01")
        transport = Nfc(session, vm, snapshot)
        lab.fault(f"/nfc {how} after=300000 count=1")
        if how == "short":
            with pytest.raises(StreamBrokenError):
                _read(transport, snapshot.disks[0].key)
        else:  # a reset may overtake the stream's first bytes: then it was begun again already
            with contextlib.suppress(StreamBrokenError):
                assert _read(transport, snapshot.disks[0].key) == wanted
        assert _read(transport, snapshot.disks[0].key) == wanted
        transport.close()
        assert [lease.state for lease in lab.context.leases.all()] == ["done"]
        snapshots.remove(session, vm.moref, snapshot.name)


def test_an_export_given_up_is_aborted(lab: Lab) -> None:
    machine = add_machine(lab)
    _scribble(machine)
    with connect_to(lab) as session:
        vm, snapshot = _freeze(session, "web01")
        transport = Nfc(session, vm, snapshot)
        reader = transport.open(snapshot.disks[0].key, NEVER)
        reader.readinto(0, bytearray(MIB))
        reader.close()
        transport.close()
        assert [lease.state for lease in lab.context.leases.all()] == ["error"]
        snapshots.remove(session, vm.moref, snapshot.name)


def test_a_lease_that_ended_is_replaced_when_the_disk_is_opened_again(lab: Lab) -> None:
    machine = add_machine(lab)
    _scribble(machine)
    wanted = _content(machine, 0)
    with connect_to(lab) as session:
        vm, snapshot = _freeze(session, "web01")
        transport = Nfc(session, vm, snapshot)
        reader = transport.open(snapshot.disks[0].key, NEVER)
        reader.readinto(0, bytearray(MIB))
        lab.expire_sessions()
        session.renew()
        (first,) = lab.context.leases.all()
        lab.context.leases.end(first, state="error")
        transport._lease._lost = StreamBrokenError("as the keeper finds out")  # type: ignore[union-attr]
        assert _read(transport, snapshot.disks[0].key) == wanted
        transport.close()
        assert [lease.state for lease in lab.context.leases.all()] == ["error", "done"]
        snapshots.remove(session, vm.moref, snapshot.name)


def test_files_come_straight_from_a_host_by_tickets(lab: Lab) -> None:
    machine = add_machine(lab)
    _scribble(machine)
    wanted = _content(machine, 0)
    with connect_to(lab) as session:
        vm, snapshot = _freeze(session, "web01")
        route = ticket_route(session, vm, addresses={vm.host: (lab.host, lab.port)})
        transport = DatastoreHttps(session, vm, snapshot, Options(HostGates(QUICK_GATE), QUICK, route))
        reader = transport.open(snapshot.disks[0].key, NEVER)
        lab.fault("/folder reset after=100000 count=1")
        assert _whole(reader, 4 * MIB) == wanted
        transport.close()
        snapshots.remove(session, vm.moref, snapshot.name)


@pytest.mark.parametrize(
    ("fault", "word"),
    [("/folder status=403", "403"), ("/folder whole skip=1", "ranges"), ("/folder status=404", "no file")],
)
def test_where_files_cannot_be_had_the_disk_is_exported(lab: Lab, fault: str, word: str) -> None:
    machine = add_machine(lab)
    _scribble(machine)
    wanted = _content(machine, 0)
    with connect_to(lab) as session:
        vm, snapshot = _freeze(session, "web01")
        lab.fault(fault)
        transport, reason = open_transport(session, vm, snapshot, [d.key for d in snapshot.disks])
        assert transport.capabilities.name == "nfc"
        assert word in reason
        assert _read(transport, snapshot.disks[0].key) == wanted
        transport.close()
        snapshots.remove(session, vm.moref, snapshot.name)


def test_a_delta_chain_with_a_parent_on_another_datastore(lab: Lab) -> None:
    """A linked clone: its base lies elsewhere and is named by volume."""
    lab.state.mount_datastore("golden store", "VMFS")
    machine = add_machine(lab)
    _scribble(machine)
    wanted = _content(machine, 0)
    with connect_to(lab) as session:
        vm, snapshot = _freeze(session, "web01")
        second = snapshots.create(session, vm, "vbm-second", "", quiesce=False, cancel=NEVER)
        head = lab.state.resolve(second.disks[0].file_name)
        base = lab.state.resolve(snapshot.disks[0].file_name)
        store = lab.state.datastore("golden store")
        (store.root / "golden").mkdir()
        for file in (base, base.with_name(base.stem + "-flat.vmdk")):
            (store.root / "golden" / file.name).write_bytes(file.read_bytes())
        text = head.read_text()
        hint = f'parentFileNameHint="/vmfs/volumes/{store.moref}/golden/{base.name}"'
        head.write_text(re.sub(r'parentFileNameHint="[^"]*"', hint, text))
        transport = DatastoreHttps(session, vm, second)
        files = transport.files(second.disks[0].key)
        assert [f.path.datastore for f in files] == ["datastore1", "golden store"]
        assert _read(transport, second.disks[0].key) == wanted
        transport.close()
        head.write_text(text)
