"""The command line against VMware's own simulator: a full backup of a VM with data, and its restores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fixtures_campaign import MIB, Vbm, noise_image
from fixtures_vsphere import Vcsim, running_vcsim
from vbm.cancel import CancelToken
from vbm.disk.raw import RawDisk
from vbm.disk.vmdk.descriptor import flat_descriptor
from vbm.vsphere import config_capture, inventory, snapshots
from vbm.vsphere.datastore_path import DatastorePath
from vbm.vsphere.model import VirtualMachine
from vbm.vsphere.properties import properties_of
from vbm.vsphere.restore_spec import RestoreSpec
from vbm.vsphere.restore_target import import_vm
from vbm.vsphere.session import Session

VM = "small machine"
CAPACITY = 24 * MIB


@pytest.fixture(scope="module")
def vcsim() -> Iterator[Vcsim]:
    with running_vcsim("-vm", "2") as running:
        yield running


def _folder(session: Session, vm: VirtualMachine) -> Path:
    """Where vcsim keeps the VM's files on this machine."""
    (datastore,) = session.read(lambda _c: list(session.vm(vm.moref).datastore))
    url = properties_of(session, datastore, ["summary.url"])["summary.url"]
    return Path(urlsplit(url).path) / DatastorePath.parse(vm.vmx_path).folder


def _machine(session: Session, folder: Path) -> bytes:
    """A powered-off VM with a disk of our own size; vcsim makes empty files: they get a descriptor and bytes."""
    content = noise_image(folder / "source.raw", CAPACITY, data_bytes=5 * MIB).read_bytes()
    template = inventory.find_vm(session, "DC0_H0_VM0")
    snapshot = snapshots.create(session, template, "vbm-document", "", quiesce=False, cancel=CancelToken())
    document = config_capture.capture(session, template, snapshot).document
    snapshots.remove(session, template.moref, snapshot.name)
    (disk,) = document["disks"]
    disk["capacity_bytes"] = CAPACITY
    reader = RawDisk(folder / "source.raw")
    try:
        moref = import_vm(session, document, {disk["key"]: reader}, RestoreSpec(VM, method="nfc"))
    finally:
        reader.close()
    vm = inventory.get_vm(session, moref)
    place, file = _folder(session, vm), DatastorePath.parse(vm.disks[0].file_name).name
    flat = place / file.replace(".vmdk", "-flat.vmdk")
    flat.write_bytes(content)
    (place / file).write_text(flat_descriptor(CAPACITY, flat.name).render())
    return content


def test_a_full_backup_and_both_restores_by_the_command_line(vcsim: Vcsim, tmp_path: Path) -> None:
    """The bytes are compared for the restored disk; vcsim throws away what is uploaded to a lease."""
    vbm = Vbm(tmp_path / "home", vcsim.credentials.password)
    endpoint = vcsim.endpoint
    vbm.add_vcenter(endpoint.host, endpoint.port, vcsim.credentials.username, endpoint.thumbprint or "")
    vbm.create_repository(tmp_path / "repo")
    with vcsim.connect() as session:
        expected = _machine(session, tmp_path)
        made = vbm.json("backup", VM, "--repository", "main")
        assert made["read_mode"] == "full"
        assert made["snapshot_removed"] is True
        vbm.ok("restore-point", "verify", made["restore_point"])
        assert vbm.restore(made["restore_point"], tmp_path / "disk.raw") == expected
        vbm.ok("restore", "vm", made["restore_point"], "--vcenter", "lab", "--name", "restored by hand")
        restored = inventory.find_vm(session, "restored by hand")
        assert [d.capacity_bytes for d in restored.disks] == [CAPACITY]
        assert restored.power_state == "poweredOff"
