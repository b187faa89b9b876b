"""Disks as configurations show them, and the verdict on each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vbm.ids import DiskKey, MoRef, VmUuid
from vbm.vsphere import preflight
from vbm.vsphere.devices import backing_kind, chain_depth, disks_of, split_path
from vbm.vsphere.model import VirtualDisk, VirtualMachine
from vbm.vsphere.soap import from_json, to_json, type_name, vim
from vbm.vsphere.topology import Place, Topology, unescape

_backing = vim.vm.device.VirtualDisk


def _topology() -> Topology:
    return Topology(
        {
            "group-d1": Place("Folder", "", ""),
            "group-d9": Place("Folder", "Europe", "group-d1"),
            "datacenter-2": Place("Datacenter", "DC%2f1", "group-d9"),
            "group-v3": Place("Folder", "vm", "datacenter-2"),
            "group-v4": Place("Folder", "web%2fshop", "group-v3"),
            "group-v5": Place("Folder", "100%25", "group-v4"),
            "datastore-1": Place("Datastore", "ds 1", "datacenter-2", "VMFS"),
            "domain-c1": Place("ComputeResource", "Cluster", "datacenter-2"),
            "pool-1": Place("ResourcePool", "Resources", "domain-c1"),
            "host-1": Place("HostSystem", "esx1", "domain-c1"),
        }
    )


def _device(backing: Any, **changes: Any) -> Any:
    fields = {
        "key": 2000,
        "controllerKey": 1000,
        "unitNumber": 3,
        "capacityInBytes": 1 << 30,
        "diskObjectId": "1-2000",
        "deviceInfo": vim.Description(label="Hard disk 1", summary=""),
        "backing": backing,
    }
    return vim.vm.device.VirtualDisk(**(fields | changes))


def test_a_flat_disk_with_a_parent() -> None:
    base = _backing.FlatVer2BackingInfo(fileName="[ds 1] web/web.vmdk", diskMode="persistent")
    head = _backing.FlatVer2BackingInfo(
        fileName="[ds 1] web/web-000001.vmdk",
        datastore=vim.Datastore("datastore-1"),
        diskMode="persistent",
        uuid="6000C29",
        changeId="52 de/3",
        thinProvisioned=True,
        parent=base,
    )
    controller = vim.vm.device.ParaVirtualSCSIController(key=1000, busNumber=0, sharedBus="virtualSharing")
    (disk,) = disks_of([controller, _device(head)], _topology())
    assert disk == VirtualDisk(
        key=DiskKey(2000),
        label="Hard disk 1",
        capacity_bytes=1 << 30,
        file_name="[ds 1] web/web-000001.vmdk",
        uuid="6000C29",
        disk_object_id="1-2000",
        change_id="52 de/3",
        backing="flat",
        mode="persistent",
        sharing="sharingNone",
        thin=True,
        encrypted=False,
        datastore="ds 1",
        datastore_type="VMFS",
        controller_key=1000,
        unit_number=3,
        bus_sharing="virtualSharing",
        chain_depth=2,
    )


def test_disks_come_by_key_and_sparse_details_have_defaults() -> None:
    late = _device(
        _backing.SeSparseBackingInfo(fileName="[d] b.vmdk", changeId=""), key=2001, deviceInfo=None
    )
    early = _device(
        _backing.SparseVer2BackingInfo(fileName="[d] a.vmdk"), capacityInBytes=None, capacityInKB=4
    )
    first, second = disks_of([late, early], _topology())
    assert (first.key, first.capacity_bytes, first.backing) == (2000, 4096, "sparse")
    assert (second.label, second.change_id, second.backing) == ("disk 2001", None, "se-sparse")
    assert disks_of(None, _topology()) == ()


@pytest.mark.parametrize(
    ("backing", "kind"),
    [
        (_backing.RawDiskMappingVer1BackingInfo(compatibilityMode="physicalMode"), "rdm-physical"),
        (_backing.RawDiskMappingVer1BackingInfo(compatibilityMode="virtualMode"), "rdm-virtual"),
        (_backing.RawDiskVer2BackingInfo(descriptorFileName="x"), "other"),
        (_backing.LocalPMemBackingInfo(), "other"),
        (None, "other"),
    ],
)
def test_kinds_of_backing(backing: Any, kind: str) -> None:
    assert backing_kind(backing) == kind


def test_a_chain_that_bites_its_tail_does_not_hang() -> None:
    backing = _backing.FlatVer2BackingInfo(fileName="[d] a.vmdk")
    backing.parent = backing
    assert chain_depth(backing) == 300


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("[ds 1] web/web.vmdk", ("ds 1", "web/web.vmdk")),
        ("[ds]x.vmdk", ("ds", "x.vmdk")),
        ("[] /vmfs/x", ("", "/vmfs/x")),
        ("plain", ("", "plain")),
        ("[ds] a [b]/c.vmdk", ("ds", "a [b]/c.vmdk")),
    ],
)
def test_datastore_paths(path: str, parts: tuple[str, str]) -> None:
    assert split_path(path) == parts


def test_only_vspheres_own_escapes_are_undone() -> None:
    assert unescape("a%2fb%5Cc%25d%41") == "a/b\\c%d%41"
    assert unescape("%252f") == "%2f"


def test_paths_in_the_inventory() -> None:
    topology = _topology()
    assert topology.folder("group-v5") == "web/shop/100%"
    assert topology.folder("group-v3") == ""
    assert topology.datacenter("group-v5") == "Europe/DC%2f1"  # as dcPath wants it: escapes kept
    assert topology.datacenter_moref("group-v5") == "datacenter-2"
    assert topology.cluster("host-1") == "Cluster"
    assert topology.pool_path("pool-1") == "Cluster/Resources"
    assert topology.name(vim.HostSystem("host-77")) == "host-77"
    assert topology.name(None) == ""
    assert topology.datastore_named("ds 1", "Europe/DC%2f1") == "datastore-1"


GOOD = VirtualDisk(
    key=DiskKey(2000),
    label="Hard disk 1",
    capacity_bytes=1 << 30,
    file_name="[ds] a/a.vmdk",
    uuid="u",
    disk_object_id="1-2000",
    change_id=None,
    backing="flat",
    mode="persistent",
    sharing="sharingNone",
    thin=True,
    encrypted=False,
    datastore="ds",
    datastore_type="VMFS",
    controller_key=1000,
    unit_number=0,
    bus_sharing="noSharing",
    chain_depth=1,
)
VM = VirtualMachine(
    name="web",
    moref=MoRef("vm-1"),
    instance_uuid=VmUuid("u"),
    bios_uuid="b",
    vcenter="vc",
    folder="",
    datacenter="DC",
    host="h",
    resource_pool="Resources",
    power_state="poweredOn",
    connection_state="connected",
    template=False,
    hardware_version="vmx-19",
    vmx_path="[ds] a/a.vmx",
    cbt_supported=True,
    cbt_enabled=True,
    consolidation_needed=False,
    snapshot_names=(),
    tools_running=True,
    encrypted=False,
    skip_reason="",
    disks=(GOOD,),
)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"mode": "independent_persistent"}, "independent_persistent"),
        ({"mode": "independent_nonpersistent"}, "independent_nonpersistent"),
        ({"mode": "nonpersistent"}, "not kept"),
        ({"backing": "rdm-physical"}, "physical mode"),
        ({"sharing": "sharingMultiWriter"}, "multi-writer"),
        ({"bus_sharing": "physicalSharing"}, "bus sharing"),
        ({"backing": "other"}, "not known"),
        ({"capacity_bytes": 0}, "capacity"),
    ],
)
def test_a_disk_that_is_left_out_says_why_and_what_to_do(change: dict[str, Any], word: str) -> None:
    (verdict,) = preflight.check(replace(VM, disks=(replace(GOOD, **change),)))
    assert not verdict.included
    assert word in verdict.reason
    assert verdict.hint


@pytest.mark.parametrize(
    "change", [{}, {"backing": "rdm-virtual"}, {"backing": "se-sparse"}, {"chain_depth": 5}]
)
def test_a_disk_that_is_backed_up(change: dict[str, Any]) -> None:
    (verdict,) = preflight.check(replace(VM, disks=(replace(GOOD, **change),)))
    assert verdict.included
    assert verdict.reason == ""


def test_an_encrypted_disk_is_included_with_a_remark() -> None:
    (verdict,) = preflight.check(replace(VM, disks=(replace(GOOD, encrypted=True),)))
    assert verdict.included
    assert "NFC" in verdict.reason


def test_a_vm_that_is_skipped_leaves_out_every_disk_with_its_reason() -> None:
    verdicts = preflight.check(replace(VM, skip_reason="it is a template", disks=(GOOD, GOOD)))
    assert [(v.included, v.reason) for v in verdicts] == [(False, "it is a template")] * 2


def test_remarks_name_what_an_administrator_should_know() -> None:
    assert preflight.remarks(VM) == []
    odd = replace(
        VM,
        consolidation_needed=True,
        disks=(replace(GOOD, chain_depth=25),),
        snapshot_names=("VEEAM BACKUP TEMPORARY SNAPSHOT",),
        power_state="suspended",
        cbt_enabled=False,
        encrypted=True,
    )
    said = " ".join(preflight.remarks(odd))
    for word in ("consolidation", "25 files", "VEEAM", "suspended", "snapshots exist", "key provider"):
        assert word in said
    assert "every backup reads all" in " ".join(preflight.remarks(replace(VM, cbt_supported=False)))


def test_a_configuration_survives_json_and_back() -> None:
    config = vim.vm.ConfigInfo(
        name="web",
        template=False,
        extraConfig=[vim.option.OptionValue(key="a", value="b")],
        hardware=vim.vm.VirtualHardware(
            numCPU=2,
            device=[
                _device(
                    _backing.FlatVer2BackingInfo(
                        fileName="[d] x.vmdk", datastore=vim.Datastore("datastore-1"), contentId="c"
                    )
                )
            ],
        ),
    )
    plain = to_json(config)
    again = from_json(plain)
    assert to_json(again) == plain
    assert again.hardware.device[0].backing.datastore._moId == "datastore-1"
    assert type_name(again.hardware.device[0]) == "VirtualDisk"


def test_what_newer_versions_wrote_is_dropped_when_read() -> None:
    assert from_json({"_vimtype": "vim.of.TheFuture", "x": 1}) is None
    again = from_json({"_vimtype": "vim.Description", "label": "l", "summary": "s", "novelty": 1})
    assert (again.label, again.summary) == ("l", "s")
