"""Changing what a machine consists of: disks made, attached, detached, grown; edits; migration."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vbm.disk.vmdk.descriptor import Descriptor, new_cid
from vbm.errors import VbmError
from vbm.lab import machine_files, tracking
from vbm.lab.layer_files import copy_sparse, create_flat
from vbm.lab.layer_store import NO_PARENT
from vbm.lab.model import (
    FLAT,
    RDM,
    SE_SPARSE,
    VMFS_SPARSE,
    Controller,
    DiskSpec,
    LabFault,
    Layer,
    MachineConfig,
    VirtualDisk,
    join_path,
    split_path,
)
from vbm.units import SECTOR

if TYPE_CHECKING:
    from vbm.lab.machine import Machine, Surroundings

_FORMAT_OF: Final = {"VMFS": FLAT, "FLAT": FLAT, "VMFSSPARSE": VMFS_SPARSE, "SESPARSE": SE_SPARSE} | {
    "VMFSRDM": RDM,
    "VMFSRDMP": RDM,
}
_RESERVED_UNIT: Final = 7  # the SCSI adapter's own


def attach(machine: Machine, spec: DiskSpec) -> VirtualDisk:
    """A new disk, or one whose descriptor exists, at a free place."""
    with machine.stun, machine.io:
        disk = _existing(machine, spec) if spec.attach else _new(machine, spec)
        machine.config.disks = [*machine.config.disks, disk]
        for layer in disk.layers:
            machine.layers[layer.id] = layer
        machine_files.write_vmx(machine)
    return disk


def _place(config: MachineConfig, spec: DiskSpec) -> tuple[int, int, int]:
    """Its controller, unit and key."""
    controllers = {each.key: each for each in config.controllers}
    chosen = spec.controller_key if spec.controller_key is not None else next(iter(controllers), None)
    if chosen is None or chosen not in controllers:
        raise LabFault(
            "InvalidDeviceSpec", f"no controller {spec.controller_key}", properties={"deviceIndex": 0}
        )
    taken = {disk.unit for disk in config.disks if disk.controller_key == chosen}
    scsi = machine_files.BUS[controllers[chosen].kind] == "scsi"
    free = (unit for unit in range(64) if unit not in taken and not (scsi and unit == _RESERVED_UNIT))
    unit = spec.unit if spec.unit is not None else next(free)
    if unit in taken:
        raise LabFault(
            "InvalidDeviceSpec", f"unit {unit} of the controller is taken", properties={"deviceIndex": 0}
        )
    return chosen, unit, _key(config, spec, chosen, unit)


def _key(config: MachineConfig, spec: DiskSpec, controller: int, unit: int) -> int:
    base = {"scsi": 2000, "ide": 3000, "sata": 16000, "nvme": 32000}
    kind = next(each for each in config.controllers if each.key == controller)
    bus = machine_files.BUS[kind.kind]
    per_bus = {"scsi": 16, "ide": 2, "sata": 30, "nvme": 15}[bus]
    key = spec.key if spec.key is not None and spec.key > 0 else base[bus] + kind.bus_number * per_bus + unit
    while key in {disk.key for disk in config.disks}:
        key += 1000
    return key


def _new(machine: Machine, spec: DiskSpec) -> VirtualDisk:
    capacity = spec.capacity_bytes or (spec.source.stat().st_size if spec.source is not None else 0)
    capacity = -(-capacity // SECTOR) * SECTOR
    if capacity <= 0:
        raise LabFault("InvalidDeviceSpec", "a disk needs a capacity", properties={"deviceIndex": 0})
    controller, unit, key = _place(machine.config, spec)
    datastore = machine.lab.datastore(spec.datastore or machine.datastore)
    if not spec.thin:
        datastore.take_space(capacity)
    path = _new_path(machine, spec, datastore.name)
    stem = path.rpartition("/")[2].removesuffix(".vmdk")
    extent, kind = f"{stem}-flat.vmdk", FLAT
    if datastore.type in {"vsan", "VVOL"}:
        extent = f"{datastore.type.lower()}://{uuid.uuid4()}"
    if spec.rdm:
        extent, kind = f"{stem}-rdm{'p' if spec.rdm == 'physicalMode' else ''}.vmdk", RDM
    layer = Layer(
        id=f"layer-{machine.lab.new_id()}",
        datastore=datastore.name,
        file_name=path,
        extent_name=extent,
        format=kind,
        capacity_bytes=capacity,
        cid=new_cid(),
        parent_cid=NO_PARENT,
        thin=spec.thin and not spec.rdm,
        key_id=spec.key_id or machine.config.key_id,
    )
    disk = _disk(machine, spec, (controller, unit, key), [layer])
    if spec.materialise and machine.materialised:
        machine.store.create_base(layer, disk, spec.source)
    return disk


def _new_path(machine: Machine, spec: DiskSpec, datastore: str) -> str:
    if spec.file_name and split_path(spec.file_name)[1].endswith(".vmdk"):
        return spec.file_name
    name = machine_files.stem(machine)
    known = {layer.file_name for layer in machine.layers.values()}
    for number in range(1000):
        suffix = f"_{number}" if number else ""
        path = join_path(datastore, f"{machine.directory}/{name}{suffix}.vmdk")
        if path not in known and not (machine.materialised and machine.lab.resolve(path).exists()):
            return path
    raise LabFault("FileAlreadyExists", f"no free name for a disk of {machine.name}")


def _disk(machine: Machine, spec: DiskSpec, place: tuple[int, int, int], layers: list[Layer]) -> VirtualDisk:
    controller, unit, key = place
    taken = {disk.label for disk in machine.config.disks}
    labels = (f"Hard disk {number}" for number in range(1, 1000))
    return VirtualDisk(
        key=key,
        label=next(label for label in labels if label not in taken),
        controller_key=controller,
        unit=unit,
        capacity_bytes=layers[-1].capacity_bytes,
        uuid=spec.uuid or new_disk_uuid(),
        object_id=f"{machine.moref.rpartition('-')[2]}-{key}",
        datastore=layers[-1].datastore,
        layers=layers,
        thin=layers[0].thin,
        mode=spec.mode,
        sharing=spec.sharing,
        rdm=spec.rdm,
        delta_format=spec.delta_format,
        key_id=layers[-1].key_id,
    )


def new_disk_uuid() -> str:
    """``6000C29x-…``: VMware's own range."""
    return "6000C29" + str(uuid.uuid4())[7:]


def _existing(machine: Machine, spec: DiskSpec) -> VirtualDisk:
    holder = _attached_to(machine.lab, spec.file_name)
    if holder is not None and spec.sharing != "sharingMultiWriter" and not _shares_bus(machine, spec):
        raise LabFault(
            "FileLocked", f"{spec.file_name} is in use by {holder}", properties={"file": spec.file_name}
        )
    layers, uuid_text, rdm = read_chain(machine.lab, spec.file_name)
    found = replace(spec, uuid=spec.uuid or uuid_text, rdm=rdm)
    return _disk(machine, found, _place(machine.config, spec), layers)


def _shares_bus(machine: Machine, spec: DiskSpec) -> bool:
    keys = {each.key for each in machine.config.controllers if each.shared_bus != "noSharing"}
    return spec.controller_key in keys


def _attached_to(lab: Surroundings, file_name: str) -> str | None:
    for other in list(lab.machines.values()):
        if any(layer.file_name == file_name for layer in other.layers.values()):
            return other.name
    return None


def read_chain(lab: Surroundings, file_name: str) -> tuple[list[Layer], str, str]:
    """Layers (base first), uuid and RDM mode of a disk from its descriptors. LabFault FileNotFound, FileFault."""
    layers: list[Layer] = []
    uuid_text = rdm = ""
    path = file_name
    while len(layers) <= 32:
        descriptor = _read_descriptor(lab, path)
        layers.insert(0, _layer(lab, path, descriptor))
        uuid_text = uuid_text or machine_files.plain_uuid(descriptor.ddb.get("uuid", ""))
        if not descriptor.has_parent:
            mode = "physicalMode" if "Passthrough" in descriptor.create_type else "virtualMode"
            rdm = mode if layers[0].format == RDM else ""
            return layers, _disk_uuid(uuid_text), rdm
        path = _parent_path(lab, path, descriptor.parent_file_name_hint)
    raise LabFault("FileFault", f"the chain of {file_name} is too long", properties={"file": file_name})


def _disk_uuid(plain: str) -> str:
    return plain[:7].upper() + plain[7:] if plain else ""


def _read_descriptor(lab: Surroundings, path: str) -> Descriptor:
    try:
        with lab.resolve(path).open("rb") as file:
            return Descriptor.parse(file.read(64 * 1024))
    except OSError as error:
        raise LabFault("FileNotFound", f"no such file: {path}", properties={"file": path}) from error
    except VbmError as error:
        raise LabFault("FileFault", f"{path}: {error.message}", properties={"file": path}) from error


def _layer(lab: Surroundings, path: str, descriptor: Descriptor) -> Layer:
    extent = descriptor.extents[0]
    if len(descriptor.extents) != 1 or extent.type not in _FORMAT_OF:
        raise LabFault(
            "FileFault", f"{path}: extents of type {extent.type} can't be used", properties={"file": path}
        )
    return Layer(
        id=f"layer-{lab.new_id()}",
        datastore=split_path(path)[0],
        file_name=path,
        extent_name=extent.file_name,
        format=_FORMAT_OF[extent.type],
        capacity_bytes=descriptor.capacity_bytes,
        cid=descriptor.cid,
        parent_cid=descriptor.parent_cid,
        thin=descriptor.ddb.get("thinProvisioned") == "1" or descriptor.has_parent,
        key_id=descriptor.ddb.get("keyID", ""),
    )


def _parent_path(lab: Surroundings, child: str, hint: str) -> str:
    if hint.startswith("/vmfs/volumes/"):
        volume, _, path = hint.removeprefix("/vmfs/volumes/").partition("/")
        return join_path(lab.datastore(volume).name, path)
    datastore, relative = split_path(child)
    folder = relative.rpartition("/")[0]
    return join_path(datastore, f"{folder}/{hint}" if folder else hint)


def detach(machine: Machine, key: int, *, delete_files: bool) -> None:
    with machine.stun, machine.io:
        disk = machine.disk(key)
        in_snapshots = {
            layer.id for node in machine.all_snapshots() for d in node.config.disks for layer in d.layers
        }
        if delete_files and any(layer.id in in_snapshots for layer in disk.layers):
            raise LabFault(
                "InvalidDeviceOperation", f"{disk.label} has snapshots", properties={"badOp": "remove"}
            )
        tracking.forget(machine, disk)
        machine.config.disks = [each for each in machine.config.disks if each is not disk]
        for layer in disk.layers:
            if layer.id not in in_snapshots:
                machine.layers.pop(layer.id, None)
        machine_files.write_vmx(machine)
        machine.changed()
        if delete_files:
            for layer in disk.layers:
                machine.store.delete(layer)


def grow(machine: Machine, key: int, capacity_bytes: int) -> None:
    with machine.stun, machine.io:
        disk = machine.disk(key)
        bad = capacity_bytes < disk.capacity_bytes or capacity_bytes % SECTOR
        if bad or len(disk.layers) > 1 or machine.snapshots or disk.rdm:
            why = (
                "to a size that is smaller or no multiple of 512"
                if bad
                else "while it has snapshots or is an RDM"
            )
            message = f"{disk.label} of {machine.name} can't be grown {why}"
            raise LabFault("InvalidDeviceOperation", message, properties={"badOp": "edit", "deviceIndex": 0})
        if capacity_bytes == disk.capacity_bytes:
            return
        machine.materialise()
        machine.store.grow(disk.layers[0], capacity_bytes, disk)
        disk.capacity_bytes = capacity_bytes
        tracking.restart(machine, key)


def edit(machine: Machine, values: Mapping[str, object]) -> None:
    known = {field.name for field in fields(MachineConfig)} - {"disks", "controllers", "nics", "name"}
    for name, value in values.items():
        if name not in known:
            raise LabFault("InvalidArgument", f"no such field: {name}", properties={"invalidProperty": name})
        if name == "extra_config" and isinstance(value, Mapping):
            merged = machine.config.extra_config | dict(value)
            value = {key: text for key, text in merged.items() if text}  # noqa: PLW2901 - "" removes a key
        setattr(machine.config, name, value)
    machine_files.write_vmx(machine)


def edit_disk(machine: Machine, key: int, mode: str | None, sharing: str | None) -> None:
    with machine.stun, machine.io:
        disk = machine.disk(key)
        if machine.snapshots and mode not in {None, disk.mode}:
            raise LabFault(
                "InvalidDeviceOperation", f"{disk.label} has snapshots", properties={"badOp": "edit"}
            )
        disk.mode = mode or disk.mode
        disk.sharing = sharing or disk.sharing
        machine_files.write_vmx(machine)


def materialise(machine: Machine) -> None:
    """Descriptors, empty flats and the .vmx of a machine that was metadata only."""
    if machine.materialised:
        return
    machine.materialised = True
    for disk in machine.disks:
        if not machine.store.exists(disk.layers[0]):
            machine.store.create_base(disk.layers[0], disk)
    machine_files.write_vmx(machine)
    machine.changed(config=False)


def relocate(machine: Machine, datastore: str, host: str, resource_pool: str) -> None:
    with machine.stun, machine.io:
        if datastore and datastore != machine.datastore:
            _move_files(machine, machine.lab.datastore(datastore).name)
        machine.host = host or machine.host
        machine.resource_pool = resource_pool or machine.resource_pool
        tracking.stunned(machine)


def _move_files(machine: Machine, target: str) -> None:
    """Storage migration: copies are made and recorded before the old files go. Earlier ids are refused."""
    machine.materialise()
    old_home = machine_files.home(machine, "")
    directory = machine.lab.free_directory(target, machine.directory)
    old_files: list[Path] = []
    for layer in machine.layers.values():
        before = machine.store.extent_path(layer)
        old_files += [machine.store.descriptor_path(layer), machine.store.ctk_path(layer)]
        layer.datastore = target
        layer.file_name = join_path(
            target, f"{directory}/{split_path(layer.file_name)[1].rpartition('/')[2]}"
        )
        after = machine.store.extent_path(layer)
        if after != before:
            _duplicate(before, after)
            old_files.append(before)
        machine.store.reopen(layer)
    _copy_small_files(machine, old_home, target, directory)
    _show_moved(machine, target)
    machine_files.write_vmx(machine)
    machine.changed()
    for path in old_files:
        path.unlink(missing_ok=True)
    shutil.rmtree(old_home, ignore_errors=True)


def _duplicate(before: Path, after: Path) -> None:
    after.parent.mkdir(parents=True, exist_ok=True)
    try:
        after.hardlink_to(before)
    except OSError:  # the datastores lie on different file systems of the host
        create_flat(after, before.stat().st_size)
        copy_sparse(before, after)


def _copy_small_files(machine: Machine, old_home: Path, target: str, directory: str) -> None:
    name = split_path(machine.vmx_path)[1].rpartition("/")[2]
    machine.datastore, machine.directory = target, directory
    machine.vmx_path = join_path(target, f"{directory}/{name}")
    new_home = machine.lab.resolve(join_path(target, directory))
    new_home.mkdir(parents=True, exist_ok=True)
    for path in old_home.iterdir():
        if path.suffix in {".nvram", ".vmsd", ".vmsn", ".vmem", ".log"}:
            shutil.copy2(path, new_home / path.name)


def _show_moved(machine: Machine, target: str) -> None:
    for node in machine.all_snapshots():
        for disk in node.config.disks:
            disk.datastore = target
            _rewrite(machine, disk)
    for disk in machine.disks:
        disk.datastore = target
        tracked = disk.change_id
        _rewrite(machine, disk)
        disk.layers[-1].change_id = tracked
    tracking.restart(machine)


def _rewrite(machine: Machine, disk: VirtualDisk) -> None:
    for at, layer in enumerate(disk.layers):
        layer.change_id = None
        machine.store.write_descriptor(layer, disk.layers[at - 1] if at else None, disk)


def default_controllers() -> list[Controller]:
    return [Controller(1000, "pvscsi", 0)]
