"""Ready-made labs."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vbm.errors import InputError
from vbm.lab import awkward, content, ext4, guest
from vbm.lab.machine import Machine
from vbm.lab.model import (
    OFF,
    ON,
    SE_SPARSE,
    VMFS_SPARSE,
    Cluster,
    Datacenter,
    DiskSpec,
    Folder,
    Host,
    MachineSpec,
    Network,
    Nic,
    ResourcePool,
)
from vbm.units import GIB, MIB, TIB

if TYPE_CHECKING:
    from vbm.lab.state import LabState

LARGE_MACHINES: Final = 5000
_PER_FOLDER: Final = 100

Preset = Callable[["LabState"], None]


def find(name: str) -> Preset:
    """Raises InputError naming what there is."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(PRESETS)}"
        raise InputError(f"no preset {name!r}", hint=hint)
    return PRESETS[name]


def lay_out(state: LabState) -> None:
    """What every lab has: a datacenter, a cluster of two hosts, two networks, a VMFS datastore."""
    state.inventory.root_folder = "group-d1"
    for moref, name, parent, kind in (
        ("group-d1", "Datacenters", "", "root"),
        ("group-v3", "vm", "datacenter-2", "vm"),
        ("group-h4", "host", "datacenter-2", "host"),
        ("group-s5", "datastore", "datacenter-2", "datastore"),
        ("group-n6", "network", "datacenter-2", "network"),
    ):
        state.inventory.add(Folder(moref, name, parent, kind))
    state.inventory.add(
        Datacenter("datacenter-2", "DC1", "group-d1", "group-v3", "group-h4", "group-s5", "group-n6")
    )
    state.inventory.add(Cluster("domain-c7", "Cluster1", "group-h4", "resgroup-8"))
    state.inventory.add(ResourcePool("resgroup-8", "Resources", "domain-c7", "domain-c7"))
    networks = ["network-12", "network-13"]
    state.inventory.add(Network("network-12", "VM Network", "group-n6"))
    state.inventory.add(Network("network-13", "Backup Network", "group-n6"))
    state.inventory.add(Host("host-9", "esx01.lab.local", "domain-c7", networks=networks))
    state.inventory.add(Host("host-10", "esx02.lab.local", "domain-c7", networks=list(networks)))
    state.mount_datastore("datastore1", "VMFS")


def empty(state: LabState) -> None:
    """No machine at all."""


@contextmanager
def _scratch(state: LabState) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=".preset-", dir=state.directory) as folder:
        yield Path(folder)


def system_image(folder: Path, capacity_bytes: int, used_bytes: int) -> Path:
    """An ext4 system disk, or without e2fsprogs the same kinds of bytes without a file system."""
    image = folder / "system.raw"
    if not ext4.available():
        content.pseudo_disk(image, capacity_bytes, used_bytes, "template")
        return image
    content.fill_system(folder / "system", used_bytes, "template")
    ext4.make(image, capacity_bytes, folder / "system", "system")
    return image


def data_image(folder: Path, capacity_bytes: int, used_bytes: int) -> Path:
    """The same for a database's disk."""
    image = folder / "data.raw"
    if not ext4.available():
        content.pseudo_disk(image, capacity_bytes, used_bytes, "data")
        return image
    content.fill_data(folder / "data", used_bytes, "data")
    ext4.make(image, capacity_bytes, folder / "data", "data")
    return image


def personalise(image: Path, name: str, size_bytes: int) -> None:
    """What differs between two machines of one template: a host name, keys, some files of its own."""
    if not ext4.available():
        return
    own = image.with_name(f"{name}.own")
    own.write_bytes(content.text(size_bytes // 2, name) + content.noise(size_bytes // 2, name))
    host = image.with_name(f"{name}.host")
    host.write_text(f"{name}\n")
    ext4.apply(image, ["cd /etc", f"write {host} hostname", "cd /srv", f"write {own} {name}.dat"])
    own.unlink()


def small(state: LabState) -> None:
    """Two machines from one template with real file systems; ``db01`` has a second disk. Both run."""
    with _scratch(state) as folder:
        system = system_image(folder, GIB, 176 * MIB)
        for name, guest_id in (("web01", "debian12_64Guest"), ("db01", "ubuntu64Guest")):
            disks = [DiskSpec(source=system)]
            if name == "db01":
                personalise(system, name, 8 * MIB)
                disks.append(DiskSpec(source=data_image(folder, 512 * MIB, 48 * MIB)))
            spec = MachineSpec(
                name,
                guest_id=guest_id,
                disks=tuple(disks),
                nics=(Nic(4000, "VM Network", ""),),
                memory_mb=4096,
            )
            state.create_machine(spec).power_on()


def chain(state: LabState) -> None:
    """Machines that already have snapshots of their users.

    ``chain-vmfssparse``: three, change tracking on since before the first. ``chain-sesparse``: two, never
    tracked. ``chain-branched``: two branches, running on the second.
    """
    with _scratch(state) as folder:
        image = system_image(folder, 256 * MIB, 40 * MIB)
        disk = DiskSpec(source=image, delta_format=VMFS_SPARSE)
        first = state.create_machine(
            MachineSpec("chain-vmfssparse", disks=(disk,), change_tracking_enabled=True)
        )
        first.power_on()
        _snapshots_between_days(first, 3)
        disk = DiskSpec(source=image, delta_format=SE_SPARSE)
        second = state.create_machine(MachineSpec("chain-sesparse", disks=(disk, DiskSpec(64 * MIB))))
        second.power_on()
        second.guest_write(1, MIB, content.noise(2 * MIB, "second disk"))
        _snapshots_between_days(second, 2)
        third = state.create_machine(MachineSpec("chain-branched", disks=(DiskSpec(source=image),)))
        _snapshots_between_days(third, 2)
        third.revert(third.snapshots[0].moref)
        _snapshots_between_days(third, 1)


def _snapshots_between_days(machine: Machine, count: int) -> None:
    for number in range(count):
        machine.take_snapshot(f"before upgrade {number + 1}", "by the administrator")
        guest.day(machine, 0, seed=100 + number, size_bytes=2 * MIB, rounds=1)


def all_awkward(state: LabState) -> None:
    """One machine of each kind that needs care; see ``awkward``."""
    with _scratch(state) as folder:
        awkward.build(state, system_image(folder, 64 * MIB, 12 * MIB))


def large(state: LabState) -> None:
    """5,000 machines in 50 folders, metadata only: their empty disks appear when first touched."""
    parent = state.datacenters["datacenter-2"].vm_folder
    for number in range(LARGE_MACHINES):
        if number % _PER_FOLDER == 0:
            folder = state.create_folder(parent, f"Department {number // _PER_FOLDER + 1:02d}").moref
        spec = MachineSpec(
            f"vm-{number + 1:04d}",
            folder=folder,
            host=("host-9", "host-10")[number % 2],
            disks=(DiskSpec(40 * GIB),) if number % 3 else (DiskSpec(40 * GIB), DiskSpec(100 * GIB)),
            nics=(Nic(4000, "VM Network", ""),),
            materialise=False,
        )
        state.create_machine(spec).power_state = OFF if number % 7 == 0 else ON


def huge(state: LabState) -> None:
    """One machine with an 8 TiB thin disk that holds little: for limits of memory. Its deltas are SEsparse."""
    machine = state.create_machine(MachineSpec("huge01", disks=(DiskSpec(8 * TIB),)))
    for number in range(64):
        machine.guest_write(0, number * 128 * 1024 * MIB, content.noise(MIB, f"huge-{number}"))
    machine.power_on()


PRESETS: dict[str, Preset] = {
    "small": small,
    "demo": small,
    "chain": chain,
    "awkward": all_awkward,
    "large": large,
    "huge": huge,
    "empty": empty,
}
