"""The small files of a machine beside its disks: .vmx, .nvram, .vmsd, .vmsn; and the list of them all."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vbm.disk.vmx import parse_vmx, render_vmx
from vbm.lab.model import (
    Controller,
    DiskSpec,
    LayoutFile,
    MachineConfig,
    Nic,
    SnapshotNode,
    join_path,
    split_path,
)
from vbm.units import KIB, MIB

if TYPE_CHECKING:
    from vbm.lab.machine import Machine

BUS: Final = {"pvscsi": "scsi", "lsilogic": "scsi", "lsilogicsas": "scsi", "buslogic": "scsi"} | {
    "nvme": "nvme",
    "ahci": "sata",
    "ide": "ide",
}
FIRST_KEY: Final = {"scsi": 1000, "sata": 15000, "nvme": 31000, "ide": 200}
_GUESTS: Final = {
    "otherLinux64Guest": "otherlinux-64",
    "debian11_64Guest": "debian11-64",
    "debian12_64Guest": "debian12-64",
    "ubuntu64Guest": "ubuntu-64",
    "rhel9_64Guest": "rhel9-64",
    "windows2019srv_64Guest": "windows2019srv-64",
    "windows2022srvNext_64Guest": "windows2022srvnext-64",
}
_NVRAM_BYTES: Final = 8684  # what ESXi's own files have


def home(machine: Machine, name: str) -> Path:
    """A file beside the .vmx."""
    return machine.lab.resolve(join_path(machine.datastore, f"{machine.directory}/{name}"))


def stem(machine: Machine) -> str:
    """The files' common name, which a rename of the machine leaves as it is."""
    return split_path(machine.vmx_path)[1].rpartition("/")[2].removesuffix(".vmx")


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    temporary.replace(path)


def write_vmx(machine: Machine) -> None:
    """The machine as its host would store it."""
    if machine.materialised:
        _replace(home(machine, stem(machine) + ".vmx"), render_vmx(vmx_values(machine)))


def write_nvram(machine: Machine) -> None:
    """Made at the first power-on, not before."""
    path = home(machine, stem(machine) + ".nvram")
    if not path.exists():
        seed = hashlib.sha256(machine.bios_uuid.encode()).digest()
        _replace(path, b"MRVN" + (seed * (_NVRAM_BYTES // 32 + 1))[: _NVRAM_BYTES - 4])


def vmx_values(machine: Machine) -> dict[str, str]:
    config = machine.config
    values = {
        ".encoding": "UTF-8",
        "config.version": "8",
        "virtualHW.version": config.hardware_version.removeprefix("vmx-"),
        "displayName": config.name,
        "guestOS": _GUESTS.get(config.guest_id, config.guest_id),
        "firmware": config.firmware,
        "memSize": str(config.memory_mb),
        "numvcpus": str(config.cpus),
        "cpuid.coresPerSocket": str(config.cores_per_socket),
        "uuid.bios": _spaced(machine.bios_uuid),
        "vc.uuid": _spaced(machine.instance_uuid),
        "nvram": stem(machine) + ".nvram",
    }
    if config.annotation:
        values["annotation"] = config.annotation
    if config.key_id:
        values["encryption.keySafe"] = f"vmware:key/list/(pair/(fqid/<VMWARE-NULL>/lab/{config.key_id}))"
    values |= _controller_values(config) | _disk_values(machine) | _nic_values(machine)
    if config.change_tracking_enabled:
        values["ctkEnabled"] = "TRUE"
    return values | dict(config.extra_config)


def _controller_values(config: MachineConfig) -> dict[str, str]:
    values: dict[str, str] = {}
    for each in config.controllers:
        slot = f"{BUS[each.kind]}{each.bus_number}"
        values[f"{slot}.present"] = "TRUE"
        if BUS[each.kind] == "scsi":
            values[f"{slot}.virtualDev"] = "lsisas1068" if each.kind == "lsilogicsas" else each.kind
            if each.shared_bus != "noSharing":
                values[f"{slot}.sharedBus"] = each.shared_bus.removesuffix("Sharing")
    return values


def disk_slot(config: MachineConfig, controller_key: int, unit: int) -> str:
    """``scsi0:1``."""
    controller = next(
        (each for each in config.controllers if each.key == controller_key), Controller(1000, "pvscsi")
    )
    return f"{BUS[controller.kind]}{controller.bus_number}:{unit}"


def _disk_values(machine: Machine) -> dict[str, str]:
    values: dict[str, str] = {}
    for disk in machine.disks:
        slot = disk_slot(machine.config, disk.controller_key, disk.unit)
        datastore, relative = split_path(disk.file_name)
        beside = datastore == machine.datastore and relative.rpartition("/")[0] == machine.directory
        volume = f"/vmfs/volumes/{machine.lab.datastore(datastore).moref}/{relative}"
        values[f"{slot}.present"] = "TRUE"
        values[f"{slot}.deviceType"] = "scsi-hardDisk"
        values[f"{slot}.fileName"] = relative.rpartition("/")[2] if beside else volume
        if disk.mode != "persistent":
            values[f"{slot}.mode"] = disk.mode.replace("_", "-")
        if disk.sharing == "sharingMultiWriter":
            values[f"{slot}.sharing"] = "multi-writer"
        if disk.change_id is not None:
            values[f"{slot}.ctkEnabled"] = "TRUE"
    return values


def _nic_values(machine: Machine) -> dict[str, str]:
    values: dict[str, str] = {}
    networks = machine.lab.networks
    for number, nic in enumerate(machine.config.nics):
        values |= {
            f"ethernet{number}.present": "TRUE",
            f"ethernet{number}.virtualDev": nic.kind,
            f"ethernet{number}.networkName": networks[nic.network].name
            if nic.network in networks
            else nic.network,
            f"ethernet{number}.addressType": "vpx" if nic.address_type == "assigned" else nic.address_type,
            f"ethernet{number}.generatedAddress": nic.mac,
        }
    return values


def _spaced(uuid: str) -> str:
    digits = uuid.replace("-", "")
    pairs = [digits[at : at + 2] for at in range(0, 32, 2)]
    return " ".join(pairs[:8]) + "-" + " ".join(pairs[8:])


def plain_uuid(spaced: str) -> str:
    """``42000f12-…`` of a .vmx's ``42 00 0f 12 …-…``; "" where it is none."""
    digits = spaced.replace(" ", "").replace("-", "").lower()
    if len(digits) != 32:
        return ""
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


# What has a field of its own; all else is kept as it is and told as extraConfig.
_READ: Final = re.compile(
    r"(\.encoding|config\.version|virtualHW\.version|displayName|guestOS|firmware|memSize|numvcpus"
    r"|cpuid\.coresPerSocket|uuid\..*|vc\.uuid|nvram|annotation|encryption\..*|ctkEnabled"
    r"|(scsi|sata|nvme|ide|ethernet)\d+[.:].*)$",
    re.IGNORECASE,
)


def read_vmx(data: bytes, datastore: str, directory: str, volumes: dict[str, str]) -> dict[str, Any]:
    """The fields of a MachineSpec that a .vmx says. ``volumes``: name or moref of a datastore to its name."""
    values = {key.lower(): value for key, value in parse_vmx(data).items()}
    guests = {short: guest for guest, short in _GUESTS.items()}
    controllers = _controllers_of(values)
    return {
        "name": values.get("displayname", directory),
        "guest_id": guests.get(values.get("guestos", ""), values.get("guestos", "otherLinux64Guest")),
        "hardware_version": f"vmx-{values.get('virtualhw.version', '19'):0>2}",
        "firmware": values.get("firmware", "bios"),
        "memory_mb": int(values.get("memsize", "1024")),
        "cpus": int(values.get("numvcpus", "1")),
        "cores_per_socket": int(values.get("cpuid.corespersocket", "1")),
        "annotation": values.get("annotation", ""),
        "bios_uuid": plain_uuid(values.get("uuid.bios", "")),
        "instance_uuid": plain_uuid(values.get("vc.uuid", "")),
        "change_tracking_enabled": values.get("ctkenabled", "").upper() == "TRUE",
        "controllers": tuple(controllers),
        "disks": tuple(_disks_of(values, controllers, datastore, directory, volumes)),
        "nics": tuple(_nics_of(values)),
        "extra_config": {key: value for key, value in parse_vmx(data).items() if not _READ.match(key)},
    }


def _controllers_of(values: dict[str, str]) -> list[Controller]:
    found: list[Controller] = []
    default = {"scsi": "lsilogic", "sata": "ahci", "nvme": "nvme", "ide": "ide"}
    for bus, key in FIRST_KEY.items():
        for number in range(4):
            if values.get(f"{bus}{number}.present", "").upper() == "TRUE":
                kind = values.get(f"{bus}{number}.virtualdev", default[bus]).replace(
                    "lsisas1068", "lsilogicsas"
                )
                shared = values.get(f"{bus}{number}.sharedbus", "no") or "no"
                shared = "no" if shared == "none" else shared
                found.append(Controller(key + number, kind, number, f"{shared}Sharing"))
    return found


def _disks_of(
    values: dict[str, str],
    controllers: list[Controller],
    datastore: str,
    directory: str,
    volumes: dict[str, str],
) -> list[DiskSpec]:
    found: list[DiskSpec] = []
    for controller in controllers:
        for unit in range(30):
            slot = f"{BUS[controller.kind]}{controller.bus_number}:{unit}"
            name = values.get(f"{slot}.filename", "")
            if values.get(f"{slot}.present", "").upper() == "TRUE" and name.lower().endswith(".vmdk"):
                mode = values.get(f"{slot}.mode", "persistent").replace("-", "_")
                sharing = (
                    "sharingMultiWriter" if values.get(f"{slot}.sharing") == "multi-writer" else "sharingNone"
                )
                path = _volume_path(name, volumes) or join_path(datastore, f"{directory}/{name}")
                found.append(
                    DiskSpec(
                        file_name=path,
                        attach=True,
                        mode=mode,
                        sharing=sharing,
                        controller_key=controller.key,
                        unit=unit,
                    )
                )
    return found


def _volume_path(name: str, volumes: dict[str, str]) -> str:
    if not name.startswith("/vmfs/volumes/"):
        return ""
    volume, _, path = name.removeprefix("/vmfs/volumes/").partition("/")
    return join_path(volumes.get(volume, volume), path)


def _nics_of(values: dict[str, str]) -> list[Nic]:
    found: list[Nic] = []
    for number in range(10):
        if values.get(f"ethernet{number}.present", "").upper() == "TRUE":
            mac = values.get(f"ethernet{number}.generatedaddress") or values.get(
                f"ethernet{number}.address", ""
            )
            kind = values.get(f"ethernet{number}.virtualdev", "vmxnet3")
            found.append(Nic(4000 + number, values.get(f"ethernet{number}.networkname", ""), mac, kind))
    return found


# --- snapshot files -----------------------------------------------------------------------------------


def write_snapshot_files(machine: Machine, node: SnapshotNode) -> None:
    _replace(
        home(machine, f"{stem(machine)}-Snapshot{node.id}.vmsn"), b"\xd2\xbe\xd2\xbe".ljust(28 * KIB, b"\0")
    )
    if node.memory and node.power_state == "poweredOn":
        _replace(home(machine, f"{stem(machine)}-Snapshot{node.id}.vmem"), b"")
    write_vmsd(machine)
    write_vmx(machine)


def remove_snapshot_files(machine: Machine, nodes: list[SnapshotNode]) -> None:
    for node in nodes:
        for suffix in (".vmsn", ".vmem"):
            home(machine, f"{stem(machine)}-Snapshot{node.id}{suffix}").unlink(missing_ok=True)


def write_vmsd(machine: Machine) -> None:
    """The snapshot dictionary: each snapshot with its disks' frozen descriptors."""
    nodes = machine.all_snapshots()
    parents = {child.id: node.id for node in nodes for child in node.children}
    values = {".encoding": "UTF-8", "snapshot.lastUID": str(machine.next_snapshot_id - 1)}
    if machine.current_snapshot is not None:
        values["snapshot.current"] = str(machine.current_snapshot.id)
    values["snapshot.numSnapshots"] = str(len(nodes))
    for number, node in enumerate(nodes):
        values |= _vmsd_entry(machine, f"snapshot{number}", node, parents.get(node.id))
    _replace(home(machine, stem(machine) + ".vmsd"), render_vmx(values))


def _vmsd_entry(machine: Machine, prefix: str, node: SnapshotNode, parent: int | None) -> dict[str, str]:
    microseconds = int(node.created.timestamp() * 1_000_000)
    values = {
        "uid": str(node.id),
        "filename": f"{stem(machine)}-Snapshot{node.id}.vmsn",
        "displayName": node.name,
        "description": node.description,
        "createTimeHigh": str(microseconds >> 32),
        "createTimeLow": str(microseconds & 0xFFFFFFFF),
    }
    if parent is not None:
        values["parent"] = str(parent)
    values["numDisks"] = str(len(node.config.disks))
    for number, disk in enumerate(node.config.disks):
        values[f"disk{number}.fileName"] = split_path(disk.file_name)[1].rpartition("/")[2]
        values[f"disk{number}.node"] = disk_slot(node.config, disk.controller_key, disk.unit)
    return {f"{prefix}.{key}": value for key, value in values.items()}


# --- the list of files --------------------------------------------------------------------------------


def layout(machine: Machine) -> list[LayoutFile]:
    """Sizes are what the files claim: a flat's is its capacity."""
    name = stem(machine)
    kinds = [(".vmx", "config"), (".nvram", "nvram"), (".vmsd", "snapshotList")]
    files = [_small(machine, name + suffix, kind) for suffix, kind in kinds]
    files += [
        _small(machine, f"{name}-Snapshot{node.id}.vmsn", "snapshotData") for node in machine.all_snapshots()
    ]
    if machine.power_state == "poweredOn":
        path = join_path(machine.datastore, f"{machine.directory}/{name}.vswp")
        files.append(LayoutFile(path, "swap", machine.config.memory_mb * MIB))
    return [file for file in files if file is not None] + _disk_files(machine)


def _small(machine: Machine, name: str, kind: str) -> LayoutFile | None:
    path = home(machine, name)
    if machine.materialised and not path.exists():
        return None
    size = path.stat().st_size if path.exists() else 0
    return LayoutFile(join_path(machine.datastore, f"{machine.directory}/{name}"), kind, size)


def _disk_files(machine: Machine) -> list[LayoutFile]:
    found: list[LayoutFile] = []
    for layer in machine.layers.values():
        folder = layer.file_name.rpartition("/")[0]
        found.append(LayoutFile(layer.file_name, "diskDescriptor", 512))
        if "://" in layer.extent_name or not machine.lab.datastore(layer.datastore).serves_flats:
            continue
        if layer.format != "rdm":
            path = machine.store.extent_path(layer)
            size = path.stat().st_size if path.exists() else layer.capacity_bytes
            found.append(LayoutFile(f"{folder}/{layer.extent_name}", "diskExtent", size))
        if layer.change_id is not None:
            ctk = machine.store.ctk_path(layer).name
            found.append(LayoutFile(f"{folder}/{ctk}", "diskExtent", 512))
    return found
