"""What goes wrong at a vCenter, one thing at a time, and what the client makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fixtures_vsphere import SOON, add_machine, connect_to, running_lab
from vbm.cancel import CancelToken
from vbm.errors import CancelledError, NotFoundError, VbmError
from vbm.lab.machine import Machine
from vbm.lab.server import Lab
from vbm.retry import RetryPolicy
from vbm.vsphere import config_capture, inventory, snapshots
from vbm.vsphere.datastore_files import fetch_small
from vbm.vsphere.faults import (
    BusyError,
    NotLicensedError,
    ObjectGoneError,
    WrongPasswordError,
    WrongThumbprintError,
)
from vbm.vsphere.model import Credentials, Endpoint, VirtualMachine
from vbm.vsphere.session import Session
from vbm.vsphere.snapshots import CreatePolicy

POLICY = CreatePolicy(busy=SOON, quiesce=RetryPolicy(attempts=3, first_seconds=0.01, factor=1))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def lab(running: Lab) -> Iterator[Lab]:
    yield running
    running.rules.clear()
    for moref in list(running.state.machines):
        running.state.vanish(moref)


@pytest.fixture
def session(lab: Lab) -> Iterator[Session]:
    with connect_to(lab) as connected:
        yield connected


@pytest.fixture
def machine(lab: Lab) -> Machine:
    return add_machine(lab)


class CancelWhenRunning(CancelToken):
    """Cancels itself as soon as the lab has begun a task of that kind."""

    def __init__(self, lab: Lab, method: str) -> None:
        super().__init__()
        self._lab = lab
        self._method = method

    def check(self) -> None:
        tasks = self._lab.context.tasks.recent()
        if any(task.method == self._method and task.state in ("queued", "running") for task in tasks):
            self.cancel(f"{self._method} has begun")
        super().check()


def _vm(session: Session, machine: Machine) -> VirtualMachine:
    return inventory.get_vm(session, machine.moref)  # type: ignore[arg-type]


def _create(
    session: Session, machine: Machine, name: str = "vbm-1", **options: Any
) -> snapshots.FoundSnapshot:
    settings = {"quiesce": False, "cancel": CancelToken(), "policy": POLICY} | options
    snapshots.create(session, _vm(session, machine), name, "by a test", **settings)
    (found,) = snapshots.find_ours(session, machine.moref)  # type: ignore[arg-type]
    return found


def _remove(session: Session, machine: Machine, **options: Any) -> snapshots.RemoveResult:
    return snapshots.remove(session, machine.moref, "vbm-1", policy=SOON, **options)  # type: ignore[arg-type]


def _names(machine: Machine) -> list[str]:
    return [node.name for node in machine.snapshots]


def test_wrong_password_and_changed_certificate(lab: Lab) -> None:
    endpoint = Endpoint("lab", lab.host, lab.port, thumbprint=lab.thumbprint)
    with pytest.raises(WrongPasswordError):
        Session.connect(endpoint, Credentials(lab.username, "wrong"), reads=SOON)
    lab.change_certificate()
    with pytest.raises(WrongThumbprintError):
        Session.connect(endpoint, Credentials(lab.username, lab.password), reads=SOON)


@pytest.mark.parametrize("rule", ["reset", "reset when=after", "status=503", "fault=HostCommunication"])
@pytest.mark.parametrize(
    "method", ["RetrievePropertiesEx", "CreateContainerView", "ContinueRetrievePropertiesEx"]
)
def test_the_inventory_survives_each_of_its_calls_failing(
    lab: Lab, session: Session, method: str, rule: str
) -> None:
    for number in range(6):
        add_machine(lab, f"vm{number}", disks=0, on=False)
    lab.fault(f"{method} {rule} count=2 skip=1")
    names = [vm.name for vm in inventory.list_vms(session, page_size=2)]
    assert sorted(names) == [f"vm{number}" for number in range(6)]


def test_sessions_that_expire_at_every_call_do_not_end_the_inventory(lab: Lab, session: Session) -> None:
    for number in range(6):
        add_machine(lab, f"vm{number}", disks=0, on=False)
    lab.fault("ContinueRetrievePropertiesEx action=expire-sessions count=3")
    names = [vm.name for vm in inventory.list_vms(session, page_size=2)]
    assert sorted(names) == [f"vm{number}" for number in range(6)]


def test_a_machine_that_vanishes_is_gone_not_broken(lab: Lab, session: Session, machine: Machine) -> None:
    vm = _vm(session, machine)
    lab.fault("now object=web01 action=delete-vm")
    with pytest.raises(ObjectGoneError):
        inventory.get_vm(session, vm.moref)
    with pytest.raises(NotFoundError):
        inventory.find_vm(session, "web01")


def test_a_free_licence_is_named(lab: Lab, session: Session, machine: Machine) -> None:
    lab.behaviour.licence = "free"
    try:
        with pytest.raises(NotLicensedError) as caught:
            _create(session, machine)
        assert "licen" in caught.value.hint
    finally:
        lab.behaviour.licence = "full"


# -- creating


@pytest.mark.parametrize(
    "rule",
    [
        "CreateSnapshot_Task reset count=1",
        "CreateSnapshot_Task reset when=after count=1",
        "CreateSnapshot_Task fault=TaskInProgress count=2",
        "CreateSnapshot_Task fault=TaskInProgress when=call count=1",
        "CreateSnapshot_Task fault=NotAuthenticated when=call count=1",
        "CreateSnapshot_Task action=expire-sessions count=1",
        "RetrievePropertiesEx reset count=2",
        "WaitForUpdatesEx reset count=2",
        "WaitForUpdatesEx fault=NotSupported",
        "CreateFilter fault=NotSupported",
        "CreatePropertyCollector fault=NotSupported",
        "WaitForUpdatesEx action=expire-sessions count=1",
    ],
)
def test_one_snapshot_is_made_and_removed_whatever_breaks_on_the_way(
    lab: Lab, session: Session, machine: Machine, rule: str
) -> None:
    lab.fault(rule)
    assert _create(session, machine).name == "vbm-1"
    assert _names(machine) == ["vbm-1"]
    lab.rules.clear()
    lab.fault(rule.replace("CreateSnapshot_Task", "RemoveSnapshot_Task"))
    assert _remove(session, machine).removed
    assert _names(machine) == []


@pytest.mark.parametrize("fault", ["ApplicationQuiesceFault", "FilesystemQuiesceFault"])
def test_a_guest_that_will_not_rest_is_tried_three_times(
    lab: Lab, session: Session, machine: Machine, fault: str
) -> None:
    lab.fault(f"CreateSnapshot_Task fault={fault} count=2")
    _create(session, machine, quiesce=True)
    _remove(session, machine)
    lab.fault(f"CreateSnapshot_Task fault={fault}")
    with pytest.raises(snapshots.QuiesceFailedError):
        _create(session, machine, quiesce=True)
    assert _names(machine) == []


def test_a_snapshot_fault_is_told_with_what_to_do(lab: Lab, session: Session, machine: Machine) -> None:
    lab.fault("CreateSnapshot_Task fault=TooManySnapshotLevels")
    with pytest.raises(snapshots.SnapshotFailedError) as caught:
        _create(session, machine)
    assert "32" in caught.value.hint
    assert _names(machine) == []


def test_a_creation_that_is_cancelled_while_it_runs_is_cleaned_by_the_removal(
    lab: Lab, session: Session, machine: Machine
) -> None:
    lab.behaviour.task_delay_seconds = 0.5
    cancel = CancelWhenRunning(lab, "CreateSnapshot_Task")
    try:
        with pytest.raises(CancelledError):
            _create(session, machine, cancel=cancel)
        assert _remove(session, machine).removed
    finally:
        lab.behaviour.task_delay_seconds = 0
    assert _names(machine) == []


# -- removing


def test_a_removal_that_fails_some_times_succeeds_in_the_end(
    lab: Lab, session: Session, machine: Machine
) -> None:
    _create(session, machine)
    lab.fault("RemoveSnapshot_Task fault=FileLocked count=3")
    assert _remove(session, machine) == snapshots.RemoveResult(removed=True, consolidated=False)
    assert _names(machine) == []


def test_a_removal_that_always_fails_says_that_the_snapshot_is_left(
    lab: Lab, session: Session, machine: Machine
) -> None:
    _create(session, machine)
    lab.fault("RemoveSnapshot_Task fault=GenericVmConfigFault")
    with pytest.raises(snapshots.SnapshotRemovalError, match="vbm-1") as caught:
        _remove(session, machine)
    assert not caught.value.permanent
    assert _names(machine) == ["vbm-1"]
    lab.rules.clear()
    assert _remove(session, machine).removed


def test_a_removal_that_leaves_files_is_followed_by_a_consolidation(
    lab: Lab, session: Session, machine: Machine
) -> None:
    _create(session, machine)
    machine.guest_write(0, 0, b"into the delta")
    lab.fault("RemoveSnapshot_Task leave-consolidation count=1")
    percent: list[int] = []
    result = _remove(session, machine, on_progress=percent.append)
    assert result == snapshots.RemoveResult(removed=True, consolidated=True)
    assert not machine.consolidation_needed
    assert all("-0000" not in d.file_name for d in _vm(session, machine).disks)
    assert machine.guest_read(0, 0, 14) == b"into the delta"


def test_a_consolidation_that_always_fails_names_the_files(
    lab: Lab, session: Session, machine: Machine
) -> None:
    _create(session, machine)
    lab.fault("RemoveSnapshot_Task leave-consolidation count=1")
    lab.fault("ConsolidateVMDisks_Task fault=FileLocked")
    with pytest.raises(snapshots.ConsolidationNeededError) as caught:
        _remove(session, machine)
    assert "-000001" in caught.value.hint
    lab.rules.clear()
    assert _remove(session, machine) == snapshots.RemoveResult(removed=True, consolidated=True)


def test_a_session_lost_during_the_copy_does_not_leave_the_snapshot(
    lab: Lab, session: Session, machine: Machine
) -> None:
    _create(session, machine)
    lab.expire_sessions()
    lab.drop_connections()
    assert _remove(session, machine).removed
    assert _names(machine) == []


def test_a_machine_that_is_gone_has_no_snapshot_left(lab: Lab, session: Session, machine: Machine) -> None:
    _create(session, machine)
    lab.fault("now object=web01 action=delete-vm")
    assert _remove(session, machine) == snapshots.RemoveResult(removed=True, consolidated=False, vm_gone=True)


def test_somebody_elses_snapshot_on_top_survives_ours(lab: Lab, session: Session, machine: Machine) -> None:
    _create(session, machine)
    machine.take_snapshot("theirs on top")
    assert _remove(session, machine).removed
    assert _names(machine) == ["theirs on top"]


def test_a_cancelled_wait_for_a_removal_leaves_the_removal_going(
    lab: Lab, session: Session, machine: Machine
) -> None:
    _create(session, machine)
    lab.behaviour.task_delay_seconds = 0.5
    cancel = CancelWhenRunning(lab, "RemoveSnapshot_Task")
    try:
        with pytest.raises(CancelledError):
            _remove(session, machine, cancel=cancel)
        assert _remove(session, machine).removed  # waits for the task that still runs
    finally:
        lab.behaviour.task_delay_seconds = 0
    assert _names(machine) == []


# -- files


def test_files_come_over_busy_servers_and_lost_sessions(lab: Lab, session: Session, machine: Machine) -> None:
    vmx = _vm(session, machine).vmx_path
    for rule in ("/folder status=503 count=2", "/folder reset count=2", "/folder short count=1"):
        lab.fault(rule)
        assert fetch_small(session, vmx, "DC1", 1 << 20)
        lab.rules.clear()
    lab.expire_sessions()
    assert fetch_small(session, vmx, "DC1", 1 << 20)
    lab.fault("/folder status=503")
    with pytest.raises(BusyError):
        fetch_small(session, vmx, "DC1", 1 << 20)


def test_a_configuration_without_its_files_is_captured_with_notes(
    lab: Lab, session: Session, machine: Machine
) -> None:
    vm = _vm(session, machine)
    made = snapshots.create(session, vm, "vbm-1", "", quiesce=False, cancel=CancelToken())
    lab.fault("/folder status=403")
    captured = config_capture.capture(session, vm, made)
    assert captured.files == ()
    assert captured.document["notes"]
    assert captured.document["disks"][0]["key"] == vm.disks[0].key


def test_every_call_of_a_backup_may_fail_and_the_error_is_ours(
    lab: Lab, session: Session, machine: Machine
) -> None:
    """No pyVmomi, socket or HTTP exception leaves the package, whichever call fails and however."""
    vm = _vm(session, machine)
    for effect in ("fault=InvalidState", "fault=NoPermission", "reset", "status=500"):
        lab.fault(f"*_Task {effect}")
        lab.fault(f"Retrieve* {effect}")
        for work in (
            lambda: list(inventory.list_vms(session)),
            lambda: snapshots.create(
                session, vm, "vbm-2", "", quiesce=False, cancel=CancelToken(), policy=POLICY
            ),
            lambda: _remove(session, machine),
            lambda: snapshots.find_ours(session),
        ):
            with pytest.raises(VbmError):
                work()
        lab.rules.clear()
    assert _names(machine) == []
