"""The specification of a restored VM: what is carried over, what is left, and what can't be."""

from __future__ import annotations

from typing import Any

import pytest

from vbm.disk.vmx import parse_vmx, render_vmx
from vbm.errors import InputError
from vbm.ids import DiskKey
from vbm.vsphere.import_spec import DiskPlan, carried_settings, new_vm
from vbm.vsphere.new_vmx import vmx_settings
from vbm.vsphere.restore_placement import wire_name
from vbm.vsphere.restore_spec import RestoreSpec
from vbm.vsphere.soap import vim

KIB = 1024


def _document(**changes: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "name": "web",
        "guest_id": "windows2019srv_64Guest",
        "hardware_version": "vmx-19",
        "instance_uuid": "50-1",
        "bios_uuid": "42-1",
        "firmware": "efi",
        "boot": {"secure_boot": True, "delay_ms": 500},
        "cpu": {
            "count": 8,
            "cores_per_socket": 4,
            "limit": -1,
            "shares": 4000,
            "shares_level": "normal",
            "reservation": 9999,
        },
        "memory": {"size_mib": 4096, "limit": 8192, "reservation": 4096},
        "controllers": [
            {"key": 100, "type": "VirtualPCIController", "bus_number": 0},
            {
                "key": 1000,
                "type": "ParaVirtualSCSIController",
                "bus_number": 0,
                "shared_bus": "physicalSharing",
            },
            {"key": 1003, "type": "VirtualLsiLogicSASController", "bus_number": 3},
            {"key": 31000, "type": "VirtualNVMEController", "bus_number": 0},
            {"key": 15000, "type": "VirtualAHCIController", "bus_number": 0},
        ],
        "disks": [
            {
                "key": 2000,
                "label": "a",
                "capacity_bytes": 10 * KIB + 512,
                "controller_key": 1000,
                "unit_number": 0,
                "thin": True,
            },
            {
                "key": 2048,
                "label": "b",
                "capacity_bytes": 8 * KIB,
                "controller_key": 1003,
                "unit_number": 12,
                "thin": False,
                "eager": True,
            },
            {
                "key": 32000,
                "label": "c",
                "capacity_bytes": 4 * KIB,
                "controller_key": 31000,
                "unit_number": 2,
                "thin": True,
            },
        ],
        "nics": [
            {
                "key": 4000,
                "type": "VirtualE1000e",
                "mac": "00:50:56:aa:bb:cc",
                "network": "LAN",
                "start_connected": True,
            },
            {
                "key": 4001,
                "type": "VirtualSriovEthernetCard",
                "mac": "",
                "network": "SAN",
                "start_connected": False,
            },
        ],
        "extra_config": {
            "disk.EnableUUID": "TRUE",
            "ethernet0.pciSlotNumber": "192",
            "ethernet0.generatedAddress": "00:50:56:aa:bb:cc",
            "uuid.location": "56 4d",
            "vc.uuid": "50 0f",
            "sched.swap.dir": "/vmfs/volumes/x",
            "guestinfo.role": "x",
            "nvram": "web.nvram",
            "scsi0:0.fileName": "web.vmdk",
            "migrate.hostLog": "x",
        },
    } | changes


def _make(document: dict[str, Any], spec: RestoreSpec, keys: tuple[int, ...] = (2000, 2048, 32000)) -> Any:
    network = vim.Network("network-1", None)
    return new_vm(
        document,
        spec,
        "ds 1",
        {4000: network, 4001: network},
        lambda n: vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(network=n, deviceName="LAN"),
        DiskPlan(tuple(map(DiskKey, keys)), lambda _key: "[ds 1]"),
    )


def _devices(made: Any, kind: Any) -> list[Any]:
    return [c.device for c in made.config.deviceChange if isinstance(c.device, kind)]


def test_disks_keep_their_places_and_get_new_keys() -> None:
    made = _make(_document(), RestoreSpec("new"))
    assert made.addresses == {
        2000: "ParaVirtualSCSIController0:0",
        2048: "VirtualLsiLogicSASController3:12",
        32000: "VirtualNVMEController0:2",
    }
    disks = _devices(made, vim.vm.device.VirtualDisk)
    assert [d.capacityInBytes for d in disks] == [10 * KIB + 512, 8 * KIB, 4 * KIB]
    assert [d.capacityInKB for d in disks] == [11, 8, 4]
    assert [d.backing.thinProvisioned for d in disks] == [True, False, True]
    assert disks[1].backing.eagerlyScrub
    controllers = _devices(made, vim.vm.device.VirtualController)
    assert len(controllers) == 3  # no PCI controller, no SATA one without disks
    assert {getattr(c, "sharedBus", None) for c in controllers} == {"noSharing", None}
    keys = [c.device.key for c in made.config.deviceChange]
    assert max(keys) < 0
    assert len(set(keys)) == len(keys)


def test_the_new_vm_has_its_own_identity_unless_asked_otherwise() -> None:
    fresh = _make(_document(), RestoreSpec("new")).config
    assert (fresh.uuid, fresh.instanceUuid) == (None, None)
    cards = _devices(_make(_document(), RestoreSpec("new")), vim.vm.device.VirtualEthernetCard)
    assert [c.macAddress for c in cards] == [None, None]
    assert [type(c) for c in cards] == [vim.vm.device.VirtualE1000e, vim.vm.device.VirtualVmxnet3]
    same = _make(_document(), RestoreSpec("new", keep_identity=True, connect_networks=False))
    assert (same.config.uuid, same.config.instanceUuid) == ("42-1", "50-1")
    cards = _devices(same, vim.vm.device.VirtualEthernetCard)
    assert [(c.addressType, c.macAddress) for c in cards] == [
        ("manual", "00:50:56:aa:bb:cc"),
        ("generated", None),
    ]
    assert [c.connectable.startConnected for c in cards] == [False, False]


def test_limits_and_shares_are_kept_but_no_reservation() -> None:
    config = _make(_document(), RestoreSpec("new")).config
    assert (config.cpuAllocation.limit, config.cpuAllocation.shares.level) == (-1, "normal")
    assert config.cpuAllocation.reservation is None
    assert (config.memoryAllocation.limit, config.memoryAllocation.reservation) == (8192, None)
    assert config.bootOptions.efiSecureBootEnabled


def test_settings_of_the_old_host_stay_behind() -> None:
    assert carried_settings(_document()) == {
        "disk.EnableUUID": "TRUE",
        "ethernet0.pciSlotNumber": "192",
        "guestinfo.role": "x",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"cpu": {}},
        {"memory": {}},
        {"controllers": []},
        {
            "controllers": [
                {"key": k, "type": "VirtualStrangeController", "bus_number": 0} for k in (1000, 1003, 31000)
            ]
        },
        {"disks": []},
    ],
)
def test_a_document_that_lacks_what_a_vm_needs_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        _make(_document(**change), RestoreSpec("new"))
    if "disks" not in change:
        with pytest.raises(InputError):
            vmx_settings(_document(**change), RestoreSpec("new"), {DiskKey(2000): "a.vmdk"}, "n")


def test_a_vmx_says_the_same_in_its_own_words() -> None:
    names = {DiskKey(2000): "new.vmdk", DiskKey(2048): "new_1.vmdk", DiskKey(32000): "new_2.vmdk"}
    spec = RestoreSpec('new "web" | ü')
    settings = parse_vmx(render_vmx(vmx_settings(_document(), spec, names, "new.nvram")))
    assert settings["displayName"] == spec.name
    assert (settings["memSize"], settings["numvcpus"], settings["firmware"]) == ("4096", "8", "efi")
    assert settings["scsi0:0.fileName"] == "new.vmdk"
    assert settings["scsi3:12.fileName"] == "new_1.vmdk"
    assert settings["scsi3.virtualDev"] == "lsisas1068"
    assert settings["nvme0:2.fileName"] == "new_2.vmdk"
    assert settings["virtualHW.version"] == "19"
    assert settings["guestOS"] == "windows2019srv-64"
    assert settings["uuid.action"] == "create"
    assert "uuid.action" not in vmx_settings(_document(), RestoreSpec("a", keep_identity=True), names, "n")


def test_names_are_written_as_vsphere_stores_them() -> None:
    assert wire_name("50%/x\\y") == "50%25%2fx%5cy"
