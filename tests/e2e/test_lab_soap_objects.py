"""The lab's managed objects as pyVmomi sees them, over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from fixtures_lab_soap import DISK_MIB, MIB, PASSWORD, add_machine, connected, running_lab, vm_named, wait
from vbm.lab.server import Lab

P = vmodl.query.PropertyCollector


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("objects")
    with running_lab(folder / "lab") as lab:
        add_machine(lab, folder, "vm one", disks=2)
        for number in range(7):
            add_machine(lab, folder, f"small/{number}%", on=False)
        yield lab


@pytest.fixture(scope="module")
def instance(lab: Lab) -> Iterator[Any]:
    with connected(lab) as instance:
        yield instance


def _machines_spec(instance: Any, paths: list[str]) -> tuple[Any, Any]:
    view = instance.content.viewManager.CreateContainerView(
        instance.content.rootFolder, [vim.VirtualMachine], True
    )
    traversal = P.TraversalSpec(name="view", type=vim.view.ContainerView, path="view", skip=False)
    return view, P.FilterSpec(
        objectSet=[P.ObjectSpec(obj=view, skip=True, selectSet=[traversal])],
        propSet=[P.PropertySpec(type=vim.VirtualMachine, pathSet=paths)],
    )


def test_the_service_says_what_it_is(lab: Lab, instance: Any) -> None:
    about = instance.content.about
    assert about.apiType == "VirtualCenter"
    assert about.instanceUuid == lab.state.about.instance_uuid
    assert abs((instance.CurrentTime() - lab.clock.now()).total_seconds()) < 60
    assert instance.content.sessionManager.currentSession.userName == lab.username
    assert instance.serverClock


def test_names_are_escaped_as_the_inventory_does(instance: Any) -> None:
    assert vm_named(instance, "small%2f3%25").summary.config.name == "small%2f3%25"


def test_pages_hold_every_machine_once(instance: Any) -> None:
    view, spec = _machines_spec(instance, ["name", "config.instanceUuid"])
    collector = instance.content.propertyCollector
    page = collector.RetrievePropertiesEx([spec], P.RetrieveOptions(maxObjects=3))
    sizes, names = [], []
    while True:
        sizes.append(len(page.objects))
        names += [item.propSet[0].val for item in page.objects]
        if not page.token:
            break
        token = page.token
        page = collector.ContinueRetrievePropertiesEx(token)
        with pytest.raises(vmodl.query.InvalidProperty):
            collector.ContinueRetrievePropertiesEx(token)
    assert sizes == [3, 3, 2]
    assert len(set(names)) == 8
    view.Destroy()
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        _ = view.view


def test_a_view_can_begin_at_any_folder(lab: Lab, instance: Any) -> None:
    folder = instance.content.rootFolder.childEntity[0].vmFolder.CreateFolder("team a")
    lab.state.move_into(folder._moId, lab.machine("small/0%").moref)
    view = instance.content.viewManager.CreateContainerView(folder, [vim.VirtualMachine], True)
    assert [vm.name for vm in view.view] == ["small%2f0%25"]
    flat = instance.content.viewManager.CreateContainerView(folder.parent, [vim.VirtualMachine], False)
    assert "small%2f0%25" not in [vm.name for vm in flat.view]


def test_unset_properties_are_left_out_and_unknown_ones_refused(instance: Any) -> None:
    _, spec = _machines_spec(instance, ["snapshot", "name"])
    found = instance.content.propertyCollector.RetrieveProperties([spec])
    assert {prop.name for item in found for prop in item.propSet} == {"name"}
    _, spec = _machines_spec(instance, ["config.nonsense"])
    with pytest.raises(vmodl.query.InvalidProperty):
        instance.content.propertyCollector.RetrieveProperties([spec])


def test_all_properties_of_every_kind_can_be_read(instance: Any) -> None:
    content = instance.content
    datacenter = content.rootFolder.childEntity[0]
    cluster = datacenter.hostFolder.childEntity[0]
    machine = vm_named(instance, "vm one")
    everything = [
        content.rootFolder,
        datacenter,
        cluster,
        cluster.resourcePool,
        cluster.host[0],
        datacenter.datastore[0],
        datacenter.network[0],
        machine,
        content.sessionManager,
        content.taskManager,
        content.eventManager,
        content.licenseManager,
        content.authorizationManager,
        content.customFieldsManager,
        content.ovfManager,
        content.propertyCollector,
        content.viewManager,
    ]
    spec = P.FilterSpec(
        objectSet=[P.ObjectSpec(obj=obj) for obj in everything],
        propSet=[P.PropertySpec(type=type(obj), all=True) for obj in everything],
    )
    found = content.propertyCollector.RetrieveProperties([spec])
    assert {item.obj for item in found} == set(everything)
    assert not any(item.missingSet for item in found)
    assert next(item for item in found if item.obj == machine).propSet


def test_devices_hang_together(instance: Any) -> None:
    machine = vm_named(instance, "vm one")
    devices = {device.key: device for device in machine.config.hardware.device}
    disks = [device for device in devices.values() if isinstance(device, vim.vm.device.VirtualDisk)]
    assert [disk.capacityInBytes for disk in disks] == [DISK_MIB * MIB] * 2
    for disk in disks:
        assert disk.key in devices[disk.controllerKey].device
        assert disk.backing.datastore.summary.type == "VMFS"
        assert disk.backing.fileName in {file.name for file in machine.layoutEx.file}
    assert machine.config.instanceUuid == machine.summary.config.instanceUuid


def test_machines_are_found_by_uuid_path_name_and_file(lab: Lab, instance: Any) -> None:
    index = instance.content.searchIndex
    machine = lab.machine("vm one")
    expected = vm_named(instance, "vm one")
    assert index.FindByUuid(None, machine.instance_uuid, True, True) == expected
    assert index.FindByUuid(None, machine.bios_uuid.upper(), True, False) == expected
    assert index.FindByUuid(None, machine.bios_uuid, True, True) is None
    assert index.FindByInventoryPath("DC1/vm/vm one") == expected
    assert index.FindByInventoryPath("DC1/vm/none") is None
    assert index.FindChild(expected.parent, "vm one") == expected
    datacenter = instance.content.rootFolder.childEntity[0]
    assert index.FindByDatastorePath(datacenter, machine.vmx_path) == expected


def test_updates_tell_what_changed_since_the_last_ones(lab: Lab, instance: Any) -> None:
    collector = instance.content.propertyCollector.CreatePropertyCollector()
    machine = vm_named(instance, "small%2f5%25")
    spec = P.FilterSpec(
        objectSet=[P.ObjectSpec(obj=machine)],
        propSet=[P.PropertySpec(type=vim.VirtualMachine, pathSet=["runtime.powerState", "name"])],
    )
    watch = collector.CreateFilter(spec, True)
    first = collector.WaitForUpdatesEx("", P.WaitOptions(maxWaitSeconds=10))
    assert first.filterSet[0].objectSet[0].kind == "enter"
    assert collector.WaitForUpdatesEx(first.version, P.WaitOptions(maxWaitSeconds=0)) is None
    lab.machine("small/5%").power_on()
    second = collector.WaitForUpdatesEx(first.version, P.WaitOptions(maxWaitSeconds=10))
    changes = second.filterSet[0].objectSet[0].changeSet
    assert [(change.name, change.val) for change in changes] == [("runtime.powerState", "poweredOn")]
    with pytest.raises(vmodl.query.InvalidCollectorVersion):
        collector.WaitForUpdatesEx(first.version, P.WaitOptions(maxWaitSeconds=0))
    lab.state.vanish(machine._moId)
    third = collector.WaitForUpdatesEx(second.version, P.WaitOptions(maxWaitSeconds=10))
    assert third.filterSet[0].objectSet[0].kind == "leave"
    watch.Destroy()
    collector.Destroy()


def test_tracking_begins_with_the_next_stun_and_pages_its_answers(lab: Lab, instance: Any) -> None:
    machine = vm_named(instance, "vm one")
    mine = lab.machine("vm one")
    wait(machine.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))
    first = wait(machine.CreateSnapshot_Task("one", "", False, False))
    disk = next(d for d in first.config.hardware.device if d.key == 2000)
    assert disk.backing.changeId.endswith("/1")
    wait(first.RemoveSnapshot_Task(False))
    mine.guest_write(0, 0, b"a" * 512)
    mine.guest_write(0, 2 * MIB, b"b" * 70_000)
    second = wait(machine.CreateSnapshotEx_Task("two", "", False, None))
    info = machine.QueryChangedDiskAreas(second, 2000, 0, disk.backing.changeId)
    assert [(area.start, area.length) for area in info.changedArea] == [(0, 65536), (2 * MIB, 131072)]
    assert info.startOffset + info.length == DISK_MIB * MIB
    for key, start, change, wrong in [
        (2000, DISK_MIB * MIB, disk.backing.changeId, "startOffset"),
        (2999, 0, disk.backing.changeId, "deviceKey"),
        (2000, 0, "52 00/1", "changeId"),
    ]:
        with pytest.raises((vmodl.fault.InvalidArgument, vim.fault.FileFault)) as caught:
            machine.QueryChangedDiskAreas(second, key, start, change)
        assert wrong in str(caught.value)
    tree = machine.snapshot.rootSnapshotList[0]
    assert (tree.name, tree.snapshot, machine.snapshot.currentSnapshot) == ("two", second, second)
    wait(second.RemoveSnapshot_Task(False))
    assert machine.snapshot is None
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        _ = second.config


def test_machines_are_made_changed_and_unmade(instance: Any) -> None:
    content = instance.content
    datacenter = content.rootFolder.childEntity[0]
    pool = datacenter.hostFolder.childEntity[0].resourcePool
    controller = vim.vm.device.VirtualLsiLogicController(key=-1, busNumber=0, sharedBus="noSharing")
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
        fileName="", diskMode="persistent", thinProvisioned=True
    )
    disk = vim.vm.device.VirtualDisk(
        key=-2, controllerKey=-1, unitNumber=0, capacityInKB=2048, backing=backing
    )
    add = vim.vm.device.VirtualDeviceSpec
    card = vim.vm.device.VirtualVmxnet3(
        key=-3,
        backing=vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(
            deviceName="VM Network", network=datacenter.network[0]
        ),
    )
    spec = vim.vm.ConfigSpec(
        name="made",
        files=vim.vm.FileInfo(vmPathName="[datastore1]"),
        numCPUs=2,
        memoryMB=512,
        deviceChange=[
            add(operation="add", device=disk, fileOperation="create"),
            add(operation="add", device=controller),
            add(operation="add", device=card),
        ],
    )
    machine = wait(datacenter.vmFolder.CreateVM_Task(spec, pool))
    assert machine.config.hardware.numCPU == 2
    made = next(d for d in machine.config.hardware.device if isinstance(d, vim.vm.device.VirtualDisk))
    assert made.backing.fileName.startswith("[datastore1] made/")
    with pytest.raises(vim.fault.DuplicateName):
        wait(datacenter.vmFolder.CreateVM_Task(spec, pool))
    made.capacityInKB, made.capacityInBytes = 4096, 4096 * 1024
    change = vim.vm.ConfigSpec(
        annotation="hello", memoryMB=1024, deviceChange=[add(operation="edit", device=made)]
    )
    wait(machine.ReconfigVM_Task(change))
    assert machine.config.annotation == "hello"
    made.capacityInKB, made.capacityInBytes = 1024, 1024 * 1024
    with pytest.raises(vim.fault.InvalidDeviceOperation):
        wait(machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[add(operation="edit", device=made)])))
    path = machine.config.files.vmPathName
    machine.UnregisterVM()
    again = wait(datacenter.vmFolder.RegisterVM_Task(path, "again", False, pool, None))
    assert again.name == "again"
    wait(datacenter.PowerOnMultiVM_Task([again]))
    with pytest.raises(vim.fault.InvalidPowerState):
        wait(again.Destroy_Task())
    wait(again.PowerOffVM_Task())
    wait(again.Destroy_Task())
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        _ = again.name


def test_disks_without_machines(lab: Lab, instance: Any) -> None:
    manager = instance.content.virtualDiskManager
    datacenter = instance.content.rootFolder.childEntity[0]
    files = instance.content.fileManager
    files.MakeDirectory("[datastore1] loose/deep", datacenter, True)
    spec = vim.VirtualDiskManager.FileBackedVirtualDiskSpec(
        diskType="thin", adapterType="lsiLogic", capacityKb=2048
    )
    first, second = "[datastore1] loose/deep/a.vmdk", "[datastore1] loose/b.vmdk"
    wait(manager.CreateVirtualDisk_Task(first, datacenter, spec))
    wait(manager.CopyVirtualDisk_Task(first, datacenter, second, datacenter, spec))
    uuid = manager.QueryVirtualDiskUuid(second, datacenter)
    assert uuid != manager.QueryVirtualDiskUuid(first, datacenter)
    wait(manager.ExtendVirtualDisk_Task(second, datacenter, 4096, None))
    assert (lab.state.resolve("[datastore1] loose/b-flat.vmdk")).stat().st_size == 4 * MIB
    with pytest.raises(vim.fault.FileAlreadyExists):
        wait(manager.CreateVirtualDisk_Task(second, datacenter, spec))
    browser = datacenter.datastore[0].browser
    found = wait(browser.SearchDatastore_Task("[datastore1] loose", None))
    assert {file.path for file in found.file} == {"b.vmdk", "b-flat.vmdk", "deep"}
    wait(manager.DeleteVirtualDisk_Task(second, datacenter))
    wait(files.DeleteDatastoreFile_Task("[datastore1] loose", datacenter))
    with pytest.raises(vim.fault.FileNotFound):
        wait(browser.SearchDatastore_Task("[datastore1] loose", None))
    with pytest.raises(vim.fault.InvalidDatastorePath):
        files.MakeDirectory("[datastore1] ../../out", datacenter, True)


def test_a_share_is_mounted_and_unmounted(instance: Any) -> None:
    host = instance.content.rootFolder.childEntity[0].hostFolder.childEntity[0].host[0]
    system = host.configManager.datastoreSystem
    volume = vim.host.NasVolume.Specification(
        remoteHost="192.0.2.1", remotePath="/export", localPath="share", accessMode="readWrite", type="NFS"
    )
    store = system.CreateNasDatastore(volume)
    assert store.summary.type == "NFS"
    assert store in host.datastore
    with pytest.raises(vim.fault.DuplicateName):
        system.CreateNasDatastore(volume)
    system.RemoveDatastore(store)
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        _ = store.name


def test_privileges_are_told_and_fields_and_events_kept(lab: Lab, instance: Any) -> None:
    content = instance.content
    machine = vm_named(instance, "vm one")
    manager = content.authorizationManager
    key = content.sessionManager.currentSession.key
    found = manager.HasPrivilegeOnEntities([machine], key, ["VApp.Export"])
    assert found[0].privAvailability[0].isGranted
    reader = manager.FetchUserPrivilegeOnEntities([machine], lab.read_only_username)
    assert "VApp.Export" not in reader[0].privileges
    field = content.customFieldsManager.AddFieldDefinition("owner", vim.VirtualMachine, None, None)
    content.customFieldsManager.SetField(machine, field.key, "me")
    assert [(value.key, value.value) for value in machine.customValue] == [(field.key, "me")]
    wait(machine.CreateSnapshot_Task("to go back to", "", False, False))
    wait(machine.RevertToCurrentSnapshot_Task())
    wait(machine.RemoveAllSnapshots_Task())
    events = content.eventManager.QueryEvents(vim.event.EventFilterSpec())
    assert any("Reverted" in event.fullFormattedMessage for event in events)


def test_state_and_password_survive_a_restart(tmp_path: Path) -> None:
    with running_lab(tmp_path / "lab") as lab:
        add_machine(lab, tmp_path, "kept")
        before = (lab.thumbprint, lab.password)
    with Lab(tmp_path / "lab") as lab, connected(lab, password=PASSWORD) as instance:
        assert (lab.thumbprint, lab.password) == before
        assert vm_named(instance, "kept").runtime.powerState == "poweredOn"
