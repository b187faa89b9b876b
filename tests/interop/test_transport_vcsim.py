"""Reading and restoring against VMware's own simulator: ranged files, an export, an import."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fixtures_vsphere import Vcsim, running_vcsim
from vbm.cancel import CancelToken
from vbm.disk.raw import RawDisk
from vbm.disk.vmdk.descriptor import flat_descriptor
from vbm.disk.vmdk.stream_optimized import encode
from vbm.units import MIB
from vbm.vsphere import config_capture, inventory, snapshots, tasks
from vbm.vsphere.datastore_path import DatastorePath
from vbm.vsphere.datastore_put import put_bytes
from vbm.vsphere.faults import UnsupportedCallError, VsphereFaultError
from vbm.vsphere.model import VirtualMachine, VmSnapshot
from vbm.vsphere.properties import properties_of
from vbm.vsphere.restore_spec import NameTakenError
from vbm.vsphere.restore_target import RestoreSpec, import_vm
from vbm.vsphere.session import Session
from vbm.vsphere.transports.base import TransportUnsuitableError
from vbm.vsphere.transports.choose import open_transport
from vbm.vsphere.transports.datastore_https import DatastoreHttps
from vbm.vsphere.transports.nfc import Nfc

NEVER = CancelToken()
CAPACITY = 24 * MIB


@pytest.fixture(scope="module")
def vcsim() -> Iterator[Vcsim]:
    with running_vcsim("-vm", "2") as running:
        yield running


@pytest.fixture
def session(vcsim: Vcsim) -> Iterator[Session]:
    with vcsim.connect() as connected:
        yield connected


class _Sparse:
    """Random megabytes among empty ones."""

    random_read = True

    def __init__(self, path: Path, seed: int) -> None:
        rng = random.Random(seed)
        with path.open("wb") as file:
            file.truncate(CAPACITY)
            for start in (0, 5 * MIB + 512, 17 * MIB):
                file.seek(start)
                file.write(rng.randbytes(MIB + 4096))
        self.path = path
        self.content = path.read_bytes()


def _document(session: Session, vm: VirtualMachine) -> dict[str, Any]:
    snapshot = snapshots.create(session, vm, "vbm-document", "", quiesce=False, cancel=NEVER)
    try:
        return config_capture.capture(session, vm, snapshot).document
    finally:
        snapshots.remove(session, vm.moref, snapshot.name)


def _restore(session: Session, image: Path, name: str, method: Any, **wishes: Any) -> VirtualMachine:
    """A VM of vcsim's own, made anew by us with a disk of our own size."""
    template = inventory.find_vm(session, "DC0_H0_VM0")
    document = _document(session, template)
    (disk,) = document["disks"]
    disk["capacity_bytes"] = CAPACITY
    reader = RawDisk(image)
    try:
        spec = RestoreSpec(name, method=method, **wishes)
        moref = import_vm(session, document, {disk["key"]: reader}, spec)
    finally:
        reader.close()
    return inventory.get_vm(session, moref)


def _folder(session: Session, vm: VirtualMachine) -> Path:
    """Where vcsim keeps the VM's files on this machine."""
    (datastore,) = session.read(lambda _c: list(session.vm(vm.moref).datastore))
    url = properties_of(session, datastore, ["summary.url"])["summary.url"]
    return Path(urlsplit(url).path) / DatastorePath.parse(vm.vmx_path).folder


def _power(session: Session, vm: VirtualMachine, *, on: bool) -> None:
    reference = session.vm(vm.moref)
    call = reference.PowerOnVM_Task if on else reference.PowerOffVM_Task
    if vm.power_state != ("poweredOn" if on else "poweredOff"):
        tasks.wait_for(session, session.call(lambda _c: call()))


def _snapshot(session: Session, vm: VirtualMachine) -> VmSnapshot:
    return snapshots.create(session, vm, "vbm-read", "", quiesce=False, cancel=NEVER)


def test_a_vm_is_restored(session: Session, tmp_path: Path) -> None:
    image = _Sparse(tmp_path / "disk.raw", 1)
    vm = _restore(session, image.path, "restored", "nfc")
    assert (vm.name, vm.power_state) == ("restored", "poweredOff")
    assert [d.capacity_bytes for d in vm.disks] == [CAPACITY]
    with pytest.raises(NameTakenError):
        _restore(session, image.path, vm.name, "nfc")


def test_an_upload_that_is_not_registered_leaves_nothing(session: Session, tmp_path: Path) -> None:
    """vcsim registers only what has a vmware.log already, which no upload has."""
    image = _Sparse(tmp_path / "disk.raw", 6)
    folder = _folder(session, inventory.find_vm(session, "DC0_H0_VM0"))
    before = sorted(p.name for p in folder.parent.iterdir())
    with pytest.raises(VsphereFaultError, match="NotFound"):
        _restore(session, image.path, "uploaded", "upload")
    assert sorted(p.name for p in folder.parent.iterdir()) == before


def test_files_are_put(session: Session) -> None:
    vm = inventory.find_vm(session, "DC0_H0_VM0")
    path = DatastorePath.parse(vm.vmx_path).sibling("100% [new] ü.bin")
    content = random.Random(9).randbytes(3 * MIB + 5)
    put_bytes(session, path, vm.datacenter, content, NEVER)
    assert (_folder(session, vm) / path.name).read_bytes() == content


def test_a_powered_on_vm_is_restored(session: Session, tmp_path: Path) -> None:
    image = _Sparse(tmp_path / "disk.raw", 2)
    vm = _restore(session, image.path, "running again", "nfc", power_on=True)
    assert vm.power_state == "poweredOn"


def test_ranges_of_a_flat_file(session: Session, tmp_path: Path) -> None:
    image = _Sparse(tmp_path / "disk.raw", 3)
    vm = _restore(session, image.path, "flat", "nfc")
    _fill_flat(session, vm, image)
    snapshot = _snapshot(session, vm)
    transport, reason = open_transport(session, vm, snapshot, [d.key for d in snapshot.disks])
    try:
        assert reason.startswith("datastore-https")
        assert isinstance(transport, DatastoreHttps)
        reader = transport.open(snapshot.disks[0].key, NEVER)
        data = bytearray(CAPACITY)
        view = memoryview(data)
        for offset in range(0, CAPACITY, 5 * MIB):
            reader.readinto(offset, view[offset : offset + 5 * MIB])
        assert data == image.content
    finally:
        transport.close()
        snapshots.remove(session, vm.moref, snapshot.name)


def test_a_running_vms_own_file_is_not_read(session: Session, tmp_path: Path) -> None:
    """vcsim's snapshots freeze nothing: the running VM goes on with the very same file."""
    image = _Sparse(tmp_path / "disk.raw", 4)
    vm = _restore(session, image.path, "running", "nfc")
    _fill_flat(session, vm, image)
    _power(session, vm, on=True)
    snapshot = _snapshot(session, vm)
    keys = [d.key for d in snapshot.disks]
    try:
        with pytest.raises(TransportUnsuitableError, match="froze nothing"):
            open_transport(session, vm, snapshot, keys, prefer="datastore-https")
        transport, reason = open_transport(session, vm, snapshot, keys)
        assert transport.capabilities.name == "nfc"
        assert "froze nothing" in reason
        transport.close()
    finally:
        snapshots.remove(session, vm.moref, snapshot.name)


def test_a_stream_out_of_an_export(session: Session, tmp_path: Path) -> None:
    image = _Sparse(tmp_path / "disk.raw", 5)
    vm = _restore(session, image.path, "exported", "nfc")
    stream = b"".join(encode([(0, image.content)], CAPACITY))
    (_folder(session, vm) / DatastorePath.parse(vm.disks[0].file_name).name).write_bytes(stream)
    snapshot = _snapshot(session, vm)
    transport = Nfc(session, vm, snapshot)
    try:
        if not _exports(session, snapshot):  # before 0.47
            with pytest.raises(TransportUnsuitableError, match="does not implement"):
                transport.open(snapshot.disks[0].key, NEVER)
            return
        reader = transport.open(snapshot.disks[0].key, NEVER)
        data = bytearray(CAPACITY)
        reader.readinto(0, data)
        assert data == image.content
    finally:
        transport.close()
        snapshots.remove(session, vm.moref, snapshot.name)


def _exports(session: Session, snapshot: VmSnapshot) -> bool:
    try:
        lease = session.call(lambda _c: session.snapshot(snapshot.moref).ExportSnapshot())
    except UnsupportedCallError:
        return False
    session.call(lambda _c: lease.HttpNfcLeaseAbort())
    return True


def _fill_flat(session: Session, vm: VirtualMachine, image: _Sparse) -> None:
    """vcsim makes empty files: give them a descriptor and bytes."""
    folder = _folder(session, vm)
    name = DatastorePath.parse(vm.disks[0].file_name).name
    flat = name.replace(".vmdk", "-flat.vmdk")
    (folder / flat).write_bytes(image.content)
    (folder / name).write_text(flat_descriptor(CAPACITY, flat).render())
