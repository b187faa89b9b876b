"""Each fault on demand does to a client what its rule says."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from fixtures_lab_soap import (
    DISK_MIB,
    MIB,
    add_machine,
    basic,
    connected,
    connection,
    folder_url,
    request,
    running_lab,
    vm_named,
    wait,
)
from vbm.clock import SystemClock
from vbm.errors import InputError
from vbm.lab.context import Options
from vbm.lab.model import DiskSpec, MachineSpec
from vbm.lab.server import Lab

FLAT = folder_url("vm one/vm one-flat.vmdk")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path / "lab") as lab:
        add_machine(lab, tmp_path).take_snapshot("frozen")
        yield lab


@pytest.fixture
def instance(lab: Lab) -> Iterator[Any]:
    with connected(lab) as instance:
        yield instance


@pytest.fixture
def machine(instance: Any) -> Any:
    return vm_named(instance, "vm one")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NotAuthenticated", vim.fault.NotAuthenticated),
        ("NoPermission", vim.fault.NoPermission),
        ("RestrictedVersion", vim.fault.RestrictedVersion),
        ("HostNotConnected", vmodl.fault.HostNotConnected),
        ("SystemError", vmodl.fault.SystemError),
        ("RequestCanceled", vmodl.fault.RequestCanceled),
    ],
)
def test_any_fault_of_a_call(lab: Lab, instance: Any, name: str, kind: type[Exception]) -> None:
    lab.fault(f"CurrentTime fault={name} count=1")
    with pytest.raises(kind):
        instance.CurrentTime()
    assert instance.CurrentTime()


@pytest.mark.parametrize(
    "name",
    [
        "TaskInProgress",
        "FilesystemQuiesceFault",
        "ApplicationQuiesceFault",
        "TooManySnapshotLevels",
        "NoDiskSpace",
    ],
)
def test_a_task_ends_with_the_fault(lab: Lab, machine: Any, name: str) -> None:
    lab.fault(f"CreateSnapshot_Task object='vm one' fault={name} count=1")
    with pytest.raises(getattr(vim.fault, name)):
        wait(machine.CreateSnapshot_Task("x", "", False, False))
    assert len(lab.machine("vm one").all_snapshots()) == 1
    assert wait(machine.CreateSnapshot_Task("x", "", False, False))


def test_the_call_itself_or_the_end_may_be_struck(lab: Lab, machine: Any) -> None:
    lab.fault("CreateSnapshot_Task fault=TaskInProgress when=call count=1")
    with pytest.raises(vim.fault.TaskInProgress):
        machine.CreateSnapshot_Task("x", "", False, False)
    lab.fault("CreateSnapshot_Task fault=Timedout when=after count=1")
    with pytest.raises(vim.fault.Timedout):
        wait(machine.CreateSnapshot_Task("made all the same", "", False, False))
    assert [node.name for node in lab.machine("vm one").all_snapshots()] == ["frozen", "made all the same"]


def test_other_objects_are_spared(lab: Lab, instance: Any, tmp_path: Path) -> None:
    add_machine(lab, tmp_path, "other")
    lab.fault("CreateSnapshot_Task object=other fault=SnapshotFault")
    assert wait(vm_named(instance, "vm one").CreateSnapshot_Task("x", "", False, False))
    with pytest.raises(vim.fault.SnapshotFault):
        wait(vm_named(instance, "other").CreateSnapshot_Task("x", "", False, False))


def test_sessions_expire(lab: Lab, instance: Any) -> None:
    lab.expire_sessions()
    with pytest.raises(vim.fault.NotAuthenticated):
        instance.CurrentTime()
    lab.fault("CurrentTime action=expire-sessions count=1")
    with (
        connected(lab) as again,
        pytest.raises((vim.fault.NotAuthenticated, vmodl.fault.ManagedObjectNotFound)),
    ):
        again.CurrentTime() and again.CurrentTime()


def test_a_reset_before_or_after_the_work(lab: Lab, machine: Any) -> None:
    lab.fault("CreateSnapshot_Task reset count=1")
    with pytest.raises((OSError, http.client.HTTPException)):
        machine.CreateSnapshot_Task("x", "", False, False)
    lab.fault("CreateSnapshot_Task reset when=after count=1")
    with pytest.raises((OSError, http.client.HTTPException)):
        machine.CreateSnapshot_Task("y", "", False, False)
    task = lab.context.tasks.recent()[-1]
    assert task.done.wait(10)
    assert [node.name for node in lab.machine("vm one").all_snapshots()] == ["frozen", "y"]


def test_a_call_that_hangs_ends_when_the_lab_does(tmp_path: Path) -> None:
    with running_lab(tmp_path / "lab") as lab, connected(lab) as instance:
        lab.fault("CurrentTime hang")
        answers: list[Exception] = []

        def ask() -> None:
            try:
                instance.CurrentTime()
            except (OSError, http.client.HTTPException) as error:
                answers.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        while not (tmp_path / "lab/events.jsonl").read_text().count('"effect": "hang"'):
            pass
        lab.stop()
        thread.join(10)
        assert len(answers) == 1


def test_a_call_that_hangs_ends_when_the_client_goes(lab: Lab) -> None:
    lab.fault("/folder hang")
    link = connection(lab)
    link.request("GET", FLAT, headers={"Authorization": basic(lab.username)})

    def busy() -> int:
        return sum("process_request_thread" in thread.name for thread in threading.enumerate())

    while not lab.context.rules.list() or not (lab.directory / "events.jsonl").read_text().count("hang"):
        pass
    before = busy()
    link.close()
    while busy() >= before:
        pass
    assert busy() == before - 1


def test_a_delay_and_a_status(lab: Lab, instance: Any) -> None:
    lab.fault("CurrentTime delay=0.05 count=1")
    lab.fault("CurrentTime status=503 retry-after=7 count=1")
    with pytest.raises(http.client.HTTPException, match="503"):
        instance.CurrentTime()


def test_removal_may_fail_or_leave_consolidation(lab: Lab, machine: Any) -> None:
    snapshot = machine.snapshot.currentSnapshot
    lab.fault("RemoveSnapshot_Task fault=GenericVmConfigFault count=2")
    for _ in range(2):
        with pytest.raises(vim.fault.GenericVmConfigFault):
            wait(snapshot.RemoveSnapshot_Task(False))
    lab.fault("RemoveSnapshot_Task leave-consolidation count=1")
    wait(snapshot.RemoveSnapshot_Task(False))
    assert machine.snapshot is None
    assert machine.runtime.consolidationNeeded
    wait(machine.ConsolidateVMDisks_Task())
    assert not machine.runtime.consolidationNeeded


def test_a_task_that_never_ends(lab: Lab, machine: Any) -> None:
    lab.fault("PowerOffVM_Task never-ends count=1")
    task = machine.PowerOffVM_Task()
    while task.info.state == "queued":
        pass
    assert task.info.state == "running"
    assert task in machine.recentTask
    with pytest.raises(vmodl.fault.NotSupported):
        task.Cancel()


@pytest.mark.parametrize(
    ("action", "seen"),
    [
        ("lose-power", lambda m: m.power_state == "poweredOff"),
        ("vmotion", lambda m: m.host != "host-9"),
        ("datastore-full", lambda m: m.lab.datastore("datastore1").free_bytes == 0),
        ("snapshot:another", lambda m: m.all_snapshots()[-1].name == "another"),
        ("quiesce-fault:FilesystemQuiesceFault", lambda m: m.quiesce_fault == "FilesystemQuiesceFault"),
        ("revert", lambda m: m.current_snapshot is not None),
    ],
)
def test_the_world_changes_at_a_call(lab: Lab, instance: Any, action: str, seen: Any) -> None:
    machine = lab.machine("vm one")
    lab.fault(f"CurrentTime object='vm one' action={action}")
    instance.CurrentTime()  # not about that machine
    lab.rules.clear()
    lab.fault(f"now object='vm one' action={action}")
    assert seen(machine)


def test_a_machine_vanishes_during_a_query(lab: Lab, machine: Any) -> None:
    lab.fault("QueryChangedDiskAreas action=delete-vm count=1")
    with pytest.raises((vmodl.MethodFault, vmodl.RuntimeFault)):
        machine.QueryChangedDiskAreas(None, 2000, 0, "*")
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        _ = machine.name


def test_a_disconnected_host_answers_for_none_of_its_machines(lab: Lab, machine: Any) -> None:
    lab.fault("now object='vm one' action=disconnect-host")
    assert machine.runtime.connectionState == "disconnected"
    with pytest.raises(vmodl.fault.HostNotConnected):
        wait(machine.CreateSnapshot_Task("x", "", False, False))
    lab.fault("now object='vm one' action=reconnect-host")
    assert machine.runtime.connectionState == "connected"


def test_an_unknown_action_is_refused(lab: Lab) -> None:
    with pytest.raises(InputError):
        lab.fault("CurrentTime action=nonsense")


def test_the_certificate_changes(lab: Lab) -> None:
    before = lab.thumbprint

    def seen() -> bytes:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with socket.create_connection((lab.host, lab.port)) as raw, context.wrap_socket(raw) as link:
            return link.getpeercert(True) or b""

    first = seen()
    lab.change_certificate()
    assert lab.thumbprint != before
    assert seen() != first


# --- /folder -------------------------------------------------------------------------------------------------


def _read(lab: Lab, start: int, length: int) -> tuple[http.client.HTTPResponse, http.client.HTTPSConnection]:
    link = connection(lab)
    headers = {"Range": f"bytes={start}-{start + length - 1}", "Authorization": basic(lab.username)}
    link.request("GET", FLAT, headers=headers)
    return link.getresponse(), link


@pytest.mark.parametrize("effect", ["reset after=1000000", "short after=1000000", "short"])
def test_a_body_breaks_off(lab: Lab, effect: str) -> None:
    lab.fault(f"/folder {effect} count=1")
    response, link = _read(lab, 0, 3 * MIB)
    assert response.status == 206
    got = bytearray()
    try:
        while piece := response.read(65536):
            got += piece
    except (OSError, http.client.HTTPException):
        pass
    assert len(got) < 3 * MIB
    link.close()
    response, link = _read(lab, 0, 3 * MIB)
    assert len(response.read()) == 3 * MIB
    link.close()


def test_wrong_answers_to_ranges(lab: Lab) -> None:
    lab.fault("/folder wrong-range count=1")
    response, link = _read(lab, 1024, 512)
    assert response.getheader("Content-Range") == f"bytes 1536-2047/{DISK_MIB * MIB}"
    link.close()
    lab.fault("/folder whole count=1")
    response, link = _read(lab, 1024, 512)
    assert (response.status, response.getheader("Content-Length")) == (200, str(DISK_MIB * MIB))
    link.close()
    lab.fault("/folder corrupt count=1")
    spoiled, link = _read(lab, 0, 4096)
    other, second = _read(lab, 0, 4096)
    assert sum(a != b for a, b in zip(spoiled.read(), other.read(), strict=True)) == 1
    link.close()
    second.close()


def test_busy_hosts_say_503(tmp_path: Path, lab: Lab) -> None:
    lab.fault("/folder status=503 count=1")
    assert "Retry-After" not in request(lab, "GET", FLAT).headers
    lab.fault("/folder status=503 retry-after=3 count=1")
    answer = request(lab, "GET", FLAT)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "3")
    assert request(lab, "HEAD", FLAT).status == 200
    with running_lab(tmp_path / "busy", behaviour=Options(folder_max_requests=1)) as busy:
        big = busy.state.create_machine(MachineSpec("big", disks=(DiskSpec(capacity_bytes=64 * MIB),)))
        big.materialise()
        url = folder_url("big/big-flat.vmdk")
        for _ in range(3):  # one after the other is never too many
            assert request(busy, "GET", url, {"Range": "bytes=0-99"}).status == 206
        link = connection(busy)
        link.request("GET", url, headers={"Authorization": basic(busy.username)})
        response = link.getresponse()  # and nobody reads its 64 MiB, so it goes on
        assert request(busy, "GET", url).status == 503
        assert len(response.read()) == 64 * MIB
        link.close()


def test_an_export_breaks_off(lab: Lab, instance: Any) -> None:
    lease = vm_named(instance, "vm one").snapshot.currentSnapshot.ExportSnapshot()
    while lease.state == "initializing":
        pass
    path = "/" + lease.info.deviceUrl[0].url.split("/", 3)[3]
    for effect in ("reset after=500000", "short after=500000", "status=500"):
        lab.fault(f"/nfc {effect} count=1")
        if effect.startswith("status"):
            assert request(lab, "GET", path).status == 500
        else:
            with pytest.raises((OSError, http.client.HTTPException)):
                request(lab, "GET", path)
    assert request(lab, "GET", path).status == 200
    lease.HttpNfcLeaseComplete()


def test_every_strike_is_in_the_log(lab: Lab, instance: Any, tmp_path: Path) -> None:
    lab.fault("CurrentTime delay=0")
    instance.CurrentTime()
    request(lab, "GET", FLAT, {"Range": "bytes=0-99"})
    log = tmp_path / "lab/events.jsonl"
    clock = SystemClock()
    end_of_patience = clock.monotonic() + 10
    while '"get-end"' not in log.read_text() and clock.monotonic() < end_of_patience:
        clock.sleep(0.02)  # it is written once the last byte was handed over
    events = [json.loads(line) for line in log.read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert {"login", "fault", "get-start", "get-end"} <= set(kinds)
    end = next(event for event in events if event["event"] == "get-end")
    assert (end["start"], end["length"]) == (0, 100)
