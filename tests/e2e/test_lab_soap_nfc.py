"""Leases: disks leave the lab and come into it as streamOptimized VMDKs."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim

from fixtures_lab_soap import DISK_MIB, MIB, add_machine, connected, request, running_lab, vm_named, wait
from vbm.disk.vmdk.stream_optimized import StreamOptimizedWriter
from vbm.disk.vmdk.stream_reader import StreamOptimizedReader
from vbm.lab.context import Options
from vbm.lab.server import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path / "lab") as lab:
        add_machine(lab, tmp_path, disks=2)
        yield lab


@pytest.fixture
def instance(lab: Lab) -> Iterator[Any]:
    with connected(lab) as instance:
        yield instance


def until(check: Callable[[], bool]) -> None:
    """Busy until something that is on its way has happened."""
    for _ in range(3000):
        if check():
            return
    raise AssertionError("it did not happen")


def ready(lease: Any) -> Any:
    until(lambda: lease.state != "initializing")
    assert lease.state == "ready", lease.error
    return lease.info


def path_of(url: str) -> str:
    return "/" + url.split("/", 3)[3]


def decoded(stream: bytes, capacity: int) -> bytes:
    disk = bytearray(capacity)
    for offset, data in StreamOptimizedReader(io.BytesIO(stream).read).grains():
        disk[offset : offset + len(data)] = data
    return bytes(disk)


def encoded(disk: bytes) -> bytes:
    parts: list[bytes] = []
    writer = StreamOptimizedWriter(parts.append, len(disk))
    writer.write(0, disk)
    writer.close()
    return b"".join(parts)


def test_a_snapshot_is_exported_as_it_was(lab: Lab, instance: Any) -> None:
    mine = lab.machine("vm one")
    snapshot = wait(vm_named(instance, "vm one").CreateSnapshot_Task("x", "", False, False))
    expected = [mine.guest_read(index, 0, DISK_MIB * MIB) for index in range(2)]
    mine.guest_write(0, 0, b"later" * 1000)
    lease = snapshot.ExportSnapshot()
    info = ready(lease)
    assert [(url.targetId, url.disk) for url in info.deviceUrl] == [
        ("disk-0.vmdk", True),
        ("disk-1.vmdk", True),
        ("vm one.nvram", False),
    ]
    assert all(str(lab.port) in url.url for url in info.deviceUrl)
    nvram = lab.state.resolve("[datastore1] vm one/vm one.nvram").read_bytes()
    assert request(lab, "GET", path_of(info.deviceUrl[2].url)).body == nvram
    assert info.totalDiskCapacityInKB == 2 * DISK_MIB * 1024
    for url, disk in zip(info.deviceUrl, expected, strict=False):
        answer = request(lab, "GET", path_of(url.url))
        assert answer.headers["Content-Type"] == "application/x-vnd.vmware-streamVmdk"
        assert decoded(answer.body, DISK_MIB * MIB) == disk
        lease.HttpNfcLeaseProgress(50)
    entry = lease.HttpNfcLeaseGetManifest()[1]
    assert entry.sha1 == hashlib.sha1(answer.body, usedforsecurity=False).hexdigest()
    lease.HttpNfcLeaseComplete()
    assert lease.state == "done"
    assert request(lab, "GET", path_of(url.url)).status == 404


def test_a_machine_under_lease_stays_where_it_is(lab: Lab, instance: Any) -> None:
    machine = vm_named(instance, "vm one")
    with pytest.raises(vim.fault.InvalidPowerState):
        machine.ExportVm()
    wait(machine.PowerOffVM_Task())
    lease = machine.ExportVm()
    info = ready(lease)
    with pytest.raises(vim.fault.TaskInProgress):
        wait(machine.PowerOnVM_Task())
    with pytest.raises(vim.fault.TaskInProgress):
        wait(machine.Destroy_Task())
    with pytest.raises(vim.fault.TaskInProgress):
        machine.ExportVm()
    assert decoded(request(lab, "GET", path_of(info.deviceUrl[0].url)).body, DISK_MIB * MIB)[:100]
    lease.HttpNfcLeaseAbort(None)
    assert lease.state == "error"
    with pytest.raises(vim.fault.InvalidState):
        lease.HttpNfcLeaseProgress(60)
    wait(machine.PowerOnVM_Task())


def _import(instance: Any, name: str = "imported", capacity_kb: int = 4096) -> Any:
    datacenter = instance.content.rootFolder.childEntity[0]
    pool = datacenter.hostFolder.childEntity[0].resourcePool
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
        fileName="", diskMode="persistent", thinProvisioned=True
    )
    add = vim.vm.device.VirtualDeviceSpec
    controller = vim.vm.device.ParaVirtualSCSIController(key=-1, busNumber=0, sharedBus="noSharing")
    spec = vim.vm.ConfigSpec(
        name=name,
        numCPUs=1,
        memoryMB=256,
        files=vim.vm.FileInfo(vmPathName="[datastore1]"),
        deviceChange=[
            add(operation="add", device=controller),
            add(
                operation="add",
                fileOperation="create",
                device=vim.vm.device.VirtualDisk(
                    key=-2, controllerKey=-1, unitNumber=0, capacityInKB=capacity_kb, backing=backing
                ),
            ),
        ],
    )
    return pool.ImportVApp(vim.vm.VmImportSpec(configSpec=spec), datacenter.vmFolder, None)


def test_a_disk_is_imported_byte_for_byte(lab: Lab, instance: Any) -> None:
    disk = bytearray(4 * MIB)
    disk[100:70000] = b"q" * 69900
    disk[3 * MIB + 5 : 3 * MIB + 50] = b"z" * 45
    stream = encoded(bytes(disk))
    lease = _import(instance)
    info = ready(lease)
    url = info.deviceUrl[0]
    assert url.importKey == "/imported/ParaVirtualSCSIController0:0"
    headers = {"Content-Type": "application/x-vnd.vmware-streamVmdk"}
    assert request(lab, "POST", path_of(url.url), headers, stream).status in {200, 201}
    entry = lease.HttpNfcLeaseGetManifest()[0]
    assert entry.sha1 == hashlib.sha1(stream, usedforsecurity=False).hexdigest()
    assert (entry.capacity, entry.size) == (4 * MIB, len(stream))
    lease.HttpNfcLeaseComplete()
    machine = lab.machine("imported")
    assert info.entity._moId == machine.moref
    assert machine.guest_read(0, 0, 4 * MIB) == bytes(disk)
    machine.power_on()


@pytest.mark.parametrize("way", ["abort", "damaged", "too large", "silence"])
def test_an_import_that_fails_leaves_no_machine(lab: Lab, instance: Any, way: str) -> None:
    lease = _import(instance)
    info = ready(lease)
    path = path_of(info.deviceUrl[0].url)
    if way == "abort":
        lease.HttpNfcLeaseAbort(None)
    elif way == "damaged":
        assert request(lab, "POST", path, {}, encoded(b"x" * MIB)[:-1536]).status == 500
    elif way == "too large":
        assert request(lab, "POST", path, {}, encoded(bytes(8 * MIB))).status == 500
    else:
        lab.context.leases.find(lease._moId).deadline = 0  # type: ignore[union-attr]
        lab.context.leases.expire(lambda: None)
        until(lambda: bool(lease.state != "ready"))
    assert lease.state in {"error", "done"}
    assert "imported" not in [machine.name for machine in lab.state.machines.values()]


def test_an_import_that_can_not_be_is_the_lease_s_error(instance: Any) -> None:
    lease = _import(instance, "vm one")
    until(lambda: lease.state != "initializing")
    assert isinstance(lease.error, vim.fault.DuplicateName)
    with pytest.raises(vim.fault.InvalidDeviceSpec):
        _import(instance, "no room", 0)


def test_a_lease_without_progress_is_ended_by_the_server(tmp_path: Path) -> None:
    with running_lab(tmp_path / "lab", behaviour=Options(lease_timeout_seconds=0)) as lab:
        add_machine(lab, tmp_path, on=False)
        with connected(lab) as instance:
            lease = vm_named(instance, "vm one").ExportVm()
            until(lambda: bool(lease.state == "error"))
            assert isinstance(lease.error, vim.fault.Timedout)
