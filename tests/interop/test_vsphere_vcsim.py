"""The client against a vSphere simulator that others wrote."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures_vsphere import SOON, Vcsim, running_vcsim
from vbm.cancel import CancelToken
from vbm.errors import CancelledError, InputError, NotFoundError
from vbm.vsphere import cbt, config_capture, inventory, preflight, privileges, snapshots
from vbm.vsphere.datastore_files import FileTooLargeError, fetch_small
from vbm.vsphere.faults import ObjectGoneError, WrongPasswordError
from vbm.vsphere.model import Credentials
from vbm.vsphere.properties import properties_of
from vbm.vsphere.session import Session


@pytest.fixture(scope="module")
def vcsim() -> Iterator[Vcsim]:
    with running_vcsim("-vm", "3", "-dc", "2") as running:
        yield running


@pytest.fixture
def session(vcsim: Vcsim) -> Iterator[Session]:
    with vcsim.connect() as connected:
        yield connected


def test_login_and_what_the_server_is(session: Session) -> None:
    assert session.is_vcenter
    assert session.about["instance_uuid"]
    assert session.cookie().startswith("vmware_soap_session=")
    assert ";" not in session.cookie()


def test_a_wrong_password_is_said(vcsim: Vcsim) -> None:
    with pytest.raises(WrongPasswordError):
        Session.connect(vcsim.endpoint, Credentials("user", ""), reads=SOON)


def test_a_lost_session_is_renewed_in_the_middle(session: Session) -> None:
    before = session.cookie()
    session.call(lambda c: c.sessionManager.Logout())
    assert session.call(lambda c: c.rootFolder.name) == "Datacenters"
    assert session.cookie() != before
    session.call(lambda c: c.sessionManager.Logout())
    assert session.renew() != before


def test_the_inventory_in_pages(session: Session) -> None:
    vms = list(inventory.list_vms(session, page_size=5))
    assert len(vms) == 12
    assert {vm.datacenter for vm in vms} == {"DC0", "DC1"}
    vm = vms[0]
    assert (vm.vcenter, vm.power_state, vm.skip_reason) == ("sim", "poweredOn", "")
    assert vm.disks[0].capacity_bytes > 0
    assert vm.disks[0].datastore == "LocalDS_0"
    assert [v.included for v in preflight.check(vm)] == [True]


def test_a_session_lost_between_two_pages_loses_and_doubles_no_vm(session: Session) -> None:
    names = []
    for vm in inventory.list_vms(session, page_size=4):
        names.append(vm.name)
        if len(names) in (3, 6):
            session.call(lambda c: c.sessionManager.Logout())
    assert len(names) == len(set(names)) == 12


def test_a_vm_is_found_by_everything_that_names_it(session: Session) -> None:
    vm = next(v for v in inventory.list_vms(session) if v.name == "DC1_H0_VM1")
    for wanted in (vm.name, vm.moref, vm.instance_uuid.upper(), f"DC1/{vm.name}", f"/DC1/vm/{vm.name}"):
        assert inventory.find_vm(session, wanted).moref == vm.moref
    with pytest.raises(NotFoundError) as caught:
        inventory.find_vm(session, "dc1_h0_wm1")
    assert "DC1_H0_VM1" in caught.value.hint


def test_two_vms_of_one_name_are_listed(session: Session) -> None:
    twin = inventory.find_vm(session, "DC1_H0_VM0")
    task = session.call(lambda _c: session.vm(twin.moref).Rename_Task("DC0_H0_VM0"))
    assert task is not None
    try:
        with pytest.raises(InputError) as caught:
            inventory.find_vm(session, "DC0_H0_VM0")
        assert "DC0/DC0_H0_VM0" in caught.value.message
        assert "DC1/DC0_H0_VM0" in caught.value.message
    finally:
        session.call(lambda _c: session.vm(twin.moref).Rename_Task("DC1_H0_VM0"))


def test_a_snapshot_comes_once_and_goes(session: Session) -> None:
    vm = inventory.find_vm(session, "DC0_H0_VM1")
    cancel = CancelToken()
    made = snapshots.create(session, vm, "vbm-a", "for a test", quiesce=False, cancel=cancel)
    assert snapshots.create(session, vm, "vbm-a", "for a test", quiesce=False, cancel=cancel) == made
    assert [d.key for d in made.disks] == [d.key for d in vm.disks]
    (found,) = snapshots.find_ours(session)
    assert (found.vm, found.vm_name, found.description) == (vm.moref, vm.name, "for a test")
    assert snapshots.find_ours(session, vm.moref) == [found]
    assert snapshots.remove(session, vm.moref, "vbm-a").removed
    assert snapshots.find_ours(session) == []
    assert snapshots.remove(session, vm.moref, "vbm-a").removed


def test_snapshots_of_others_are_left_alone(session: Session) -> None:
    vm = inventory.find_vm(session, "DC0_H0_VM2")
    reference = session.vm(vm.moref)
    make = lambda name: session.call(lambda _c: reference.CreateSnapshot_Task(name, "", False, False))  # noqa: E731
    make("theirs")
    snapshots.create(session, vm, "vbm-b", "", quiesce=False, cancel=CancelToken())
    make("theirs on top")
    (ours,) = snapshots.find_ours(session, vm.moref)
    assert ours.has_children
    snapshots.remove(session, vm.moref, "vbm-b")
    assert inventory.get_vm(session, vm.moref).snapshot_names == ("theirs", "theirs on top")


def test_names_that_are_not_ours_are_refused(session: Session) -> None:
    vm = inventory.find_vm(session, "DC0_H0_VM1")
    for name in ("daily", "vbm-50%", "vbm-a/b"):
        with pytest.raises(InputError):
            snapshots.create(session, vm, name, "", quiesce=False, cancel=CancelToken())


def test_a_cancelled_run_makes_no_snapshot(session: Session) -> None:
    vm = inventory.find_vm(session, "DC0_H0_VM1")
    cancel = CancelToken()
    cancel.cancel("asked to")
    with pytest.raises(CancelledError):
        snapshots.create(session, vm, "vbm-c", "", quiesce=False, cancel=cancel)
    assert snapshots.find_ours(session, vm.moref) == []


def test_tracking_is_switched_on(session: Session) -> None:
    vm = inventory.find_vm(session, "DC0_H0_VM0")
    assert cbt.ensure_enabled(session, vm, CancelToken())
    assert inventory.get_vm(session, vm.moref).cbt_enabled


def test_a_configuration_is_captured(session: Session) -> None:
    vm = inventory.find_vm(session, "DC0_H0_VM1")
    made = snapshots.create(session, vm, "vbm-d", "", quiesce=False, cancel=CancelToken())
    try:
        captured = config_capture.capture(session, vm, made)
    finally:
        snapshots.remove(session, vm.moref, "vbm-d")
    document = captured.document
    assert document["name"] == vm.name
    assert document["cpu"]["count"] == 1
    assert document["disks"][0]["capacity_bytes"] == vm.disks[0].capacity_bytes
    assert {c["type"] for c in document["controllers"]} >= {"ParaVirtualSCSIController"}
    (nic,) = document["nics"]
    assert nic["mac"].startswith("00:")
    assert nic["network"] == "DC0_DVPG0"
    assert document["placement"]["datacenter"] == "DC0"
    assert document["raw"]["instanceUuid"] == vm.instance_uuid
    assert [name for name, _content in captured.files][:1] == ["vm.vmx"]


def test_files_are_bounded_and_missing_ones_are_said(session: Session) -> None:
    vm = inventory.find_vm(session, "DC0_H0_VM1")
    log = vm.vmx_path.replace("DC0_H0_VM1.vmx", "vmware.log")
    assert fetch_small(session, log, "DC0", 1 << 20)
    with pytest.raises(FileTooLargeError):
        fetch_small(session, log, "DC0", 3)
    with pytest.raises(NotFoundError):
        fetch_small(session, "[LocalDS_0] none/none.vmx", "DC0", 100)


def test_privileges_and_licence_are_asked_for(session: Session) -> None:
    vm = inventory.find_vm(session, "DC0_H0_VM1")
    assert privileges.missing_for_backup(session, vm.moref) == []
    privileges.check_licence(session)


def test_an_object_that_is_gone_is_said(session: Session) -> None:
    with pytest.raises(ObjectGoneError):
        properties_of(session, session.vm("vm-99999"), ["name"])
