"""Machines that a backup must handle with care, or refuse with the reason: one of each kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vbm.lab.model import Controller, DiskSpec, MachineSpec, Nic
from vbm.units import MIB, SECTOR

if TYPE_CHECKING:
    from vbm.lab.state import LabState

_PLAIN: Final = Controller(1000, "pvscsi", 0)
_SHARED: Final = Controller(1001, "lsilogicsas", 1, "physicalSharing")
ODD_NAMES: Final = (
    "with space",
    "ünïcödé ☃ 名前",
    "100% sure",
    "[brackets]",
    "a/slash",
    "trailing dot.",
    "q?&=#+plus",
    'it\'s "quoted"',
)


def build(state: LabState, image: Path) -> None:
    """All of them; those that can run do."""
    state.mount_datastore("nfs01", "NFS", behaviour={"remote": "nas.lab.local:/export/one"})
    state.mount_datastore(
        "nfs41", "NFS41", behaviour={"remote": "nas.lab.local:/export/two", "star": "fault"}
    )
    state.mount_datastore("vsanDatastore", "vsan")
    state.mount_datastore("datastore (2)", "VMFS")
    twins = [state.create_folder("group-v3", name).moref for name in ("North", "South/East")]
    boot = DiskSpec(source=image)
    specs = _disk_kinds(boot) + _machine_kinds(boot) + _places(boot)
    specs += [MachineSpec(name, disks=(boot,), nics=(Nic(4000, "VM Network", ""),)) for name in ODD_NAMES]
    specs += [MachineSpec("twin", folder=folder, disks=(boot,)) for folder in twins]
    stopped = {"powered-off", "template-linux", "no-disks"}
    for spec in specs:
        machine = state.create_machine(spec)
        if spec.name not in stopped:
            machine.power_on()
        if spec.name == "suspended":
            machine.suspend()


def _disk_kinds(boot: DiskSpec) -> list[MachineSpec]:
    data = DiskSpec(32 * MIB)
    lun = DiskSpec(32 * MIB, rdm="physicalMode", mode="independent_persistent")
    shared = replace(data, controller_key=_SHARED.key)
    encrypted = "lab-key-1"
    return [
        MachineSpec("independent", disks=(boot, replace(data, mode="independent_persistent"))),
        MachineSpec(
            "independent-nonpersistent", disks=(boot, replace(data, mode="independent_nonpersistent"))
        ),
        MachineSpec("rdm-physical", disks=(boot, lun)),
        MachineSpec("rdm-virtual", disks=(boot, DiskSpec(32 * MIB, rdm="virtualMode"))),
        MachineSpec("shared-bus", controllers=(_PLAIN, _SHARED), disks=(boot, shared)),
        MachineSpec("multi-writer", disks=(boot, replace(data, sharing="sharingMultiWriter", thin=False))),
        MachineSpec("encrypted", disks=(boot,), key_id=encrypted, firmware="efi"),
        MachineSpec("thick", disks=(replace(boot, thin=False),)),
        MachineSpec("odd-size", disks=(replace(boot, capacity_bytes=70 * MIB + 3 * SECTOR),)),
        MachineSpec(
            "controllers",
            controllers=(
                _PLAIN,
                Controller(15000, "ahci"),
                Controller(31000, "nvme"),
                Controller(200, "ide"),
            ),
            disks=(boot, *(replace(data, controller_key=key) for key in (15000, 31000, 200))),
        ),
        MachineSpec("no-disks"),
    ]


def _machine_kinds(boot: DiskSpec) -> list[MachineSpec]:
    return [
        MachineSpec("template-linux", disks=(boot,), template=True),
        MachineSpec("powered-off", disks=(boot,)),
        MachineSpec("suspended", disks=(boot,)),
        MachineSpec("fault-tolerant", disks=(boot,), fault_tolerant=True),
        MachineSpec("vCLS-4c4c4544", disks=(DiskSpec(2 * MIB),), extra_config={"HDCS.agent": "true"}),
    ]


def _places(boot: DiskSpec) -> list[MachineSpec]:
    return [
        MachineSpec("on-nfs", datastore="nfs01", disks=(boot,)),
        MachineSpec("on-nfs41", datastore="nfs41", disks=(boot,)),
        MachineSpec("on-vsan", datastore="vsanDatastore", disks=(boot,)),
        MachineSpec("two-datastores", disks=(boot, DiskSpec(16 * MIB, datastore="datastore (2)"))),
    ]
