"""Leases: whose file is whose, where it lies, and what is never guessed."""

from __future__ import annotations

from typing import Any

import pytest

from vbm.ids import DiskKey
from vbm.vsphere.lease_devices import disk_addresses, match
from vbm.vsphere.model import Endpoint
from vbm.vsphere.nfc_lease import LeaseAddress, LeaseDevice, LeaseFailedError, address_of
from vbm.vsphere.soap import vim

HERE = Endpoint("vc", "vc.example", 8443, thumbprint="a" * 64)
device = vim.vm.device


def _file(
    key: str, url: str = "https://esx/nfc/1/disk-0.vmdk", *, disk: bool = True, pin: str = ""
) -> LeaseDevice:
    return LeaseDevice(key, key.replace("/vm-1/", "/web/"), url + key, pin, disk, key.rpartition("/")[2])


def _hardware() -> list[Any]:
    return [
        device.ParaVirtualSCSIController(key=1000, busNumber=0),
        device.VirtualLsiLogicSASController(key=1001, busNumber=1),
        device.VirtualAHCIController(key=15000, busNumber=0),
        device.VirtualNVMEController(key=31000, busNumber=0),
        device.VirtualIDEController(key=200, busNumber=0),
        device.VirtualCdrom(key=3000, controllerKey=200, unitNumber=0),
        *(
            device.VirtualDisk(key=key, controllerKey=controller, unitNumber=unit)
            for key, controller, unit in (
                (2000, 1000, 0),
                (2010, 1000, 10),
                (2016, 1001, 0),
                (16000, 15000, 0),
                (32000, 31000, 0),
                (3001, 200, 1),
            )
        ),
    ]


def test_every_controller_has_its_disks() -> None:
    assert disk_addresses(_hardware()) == {
        2000: "ParaVirtualSCSIController0:0",
        2010: "ParaVirtualSCSIController0:10",
        2016: "VirtualLsiLogicSASController1:0",
        16000: "VirtualAHCIController0:0",
        32000: "VirtualNVMEController0:0",
        3001: "VirtualIDEController0:1",
    }


def test_files_in_any_order_find_their_disks() -> None:
    addresses = disk_addresses(_hardware())
    files = [_file(f"/vm-1/{address}") for address in reversed(addresses.values())]
    files.append(_file("/vm-1/nvram", disk=False))
    found = match(files, addresses)
    assert {key: file.key for key, file in found.items()} == {k: f"/vm-1/{a}" for k, a in addresses.items()}


def test_a_disk_that_the_lease_leaves_out_is_left_out() -> None:
    addresses = disk_addresses(_hardware())
    files = [_file(f"/vm-1/{a}") for a in addresses.values() if not a.startswith("VirtualNVME")]
    assert DiskKey(32000) not in match(files, addresses)


def test_a_server_without_controllers_goes_by_order() -> None:
    addresses = {DiskKey(2000): "ParaVirtualSCSIController0:0", DiskKey(2001): "ParaVirtualSCSIController0:1"}
    files = [_file("/vm-1/disk:0"), _file("/vm-1/disk:1")]
    assert [file.target for file in match(files, addresses).values()] == ["disk:0", "disk:1"]


@pytest.mark.parametrize(
    "keys",
    [
        ["/vm-1/disk:0"],
        ["/vm-1/disk:0", "/vm-1/disk:1", "/vm-1/disk:2"],
        ["/vm-1/VirtualBusLogicController0:0", "/vm-1/VirtualBusLogicController0:1"],
        ["/vm-1/ParaVirtualSCSIController0:0", "/vm-2/ParaVirtualSCSIController0:0"],
    ],
)
def test_nothing_is_guessed(keys: list[str]) -> None:
    addresses = {DiskKey(2000): "ParaVirtualSCSIController0:0", DiskKey(2001): "ParaVirtualSCSIController0:1"}
    with pytest.raises(LeaseFailedError):
        match([_file(key) for key in keys], addresses)


@pytest.mark.parametrize(
    ("url", "pin", "wanted"),
    [
        ("https://esx1.example/nfc/a/b.vmdk", "AA", LeaseAddress("esx1.example", 443, "/nfc/a/b.vmdk", "AA")),
        ("https://esx1.example:444/nfc/a?x=1", "AA", LeaseAddress("esx1.example", 444, "/nfc/a?x=1", "AA")),
        ("https://*/nfc/a/b.vmdk", "AA", LeaseAddress("vc.example", 8443, "/nfc/a/b.vmdk", "")),
        ("https://*:9443/nfc/a", "", LeaseAddress("vc.example", 9443, "/nfc/a", "")),
        ("https://VC.example:8443/nfc/a", "AA", LeaseAddress("vc.example", 8443, "/nfc/a", "")),
        ("https://vc.example/nfc/a", "AA", LeaseAddress("vc.example", 443, "/nfc/a", "AA")),
    ],
)
def test_where_a_file_lies_and_who_vouches_for_it(url: str, pin: str, wanted: LeaseAddress) -> None:
    assert address_of(LeaseDevice("k", "k", url, pin, True, "t"), HERE) == wanted


@pytest.mark.parametrize("url", ["http://esx1/nfc/a", "ftp://esx1/x", "", "https://", "https://esx1:99999/a"])
def test_addresses_without_tls_are_refused(url: str) -> None:
    with pytest.raises(LeaseFailedError):
        address_of(LeaseDevice("k", "k", url, "", True, "t"), HERE)
