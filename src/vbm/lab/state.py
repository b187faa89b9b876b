"""The whole of a lab: its inventory and machines, and what may be done to them."""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from typing import Any

from vbm.clock import Clock, SystemClock
from vbm.errors import InputError, NotFoundError
from vbm.lab import devices, machine_files, presets
from vbm.lab.codec import Json
from vbm.lab.datastore import Datastore
from vbm.lab.inventory import Entity, check_entity_name, escaped
from vbm.lab.layer_store import LayerStore
from vbm.lab.machine import Machine
from vbm.lab.model import (
    OFF,
    ON,
    Cluster,
    Datacenter,
    Folder,
    Host,
    LabFault,
    MachineConfig,
    MachineSpec,
    Network,
    Nic,
    ResourcePool,
    SnapshotNode,
    join_path,
    split_path,
)
from vbm.lab.persistent_state import LabBusyError, PersistentState

__all__ = ["LabBusyError", "LabState"]


class LabState(PersistentState):
    """Thread-safe. The dictionaries are for reading; the methods change them and persist the change.

    One process at a time: the constructor, ``create`` and ``open`` raise LabBusyError while another process
    has the lab open.
    """

    def __init__(self, directory: Path, clock: Clock | None = None) -> None:
        super().__init__(directory, clock or SystemClock())
        self.store = LayerStore(self.directory, self.resolve, lambda name: self.datastore(name).moref)

    @classmethod
    def create(cls, directory: Path, preset: str = "small", clock: Clock | None = None) -> LabState:
        """A new lab. Raises InputError for an unknown preset or a folder that holds a lab already."""
        build = presets.find(preset)
        if (directory / "state.json").exists():
            raise InputError(
                f"{directory} holds a lab already", hint="name another folder, or delete this one"
            )
        state = cls(directory, clock)
        try:
            with state.batch():
                presets.lay_out(state)
                build(state)
        except BaseException:
            state.close()
            raise
        return state

    @classmethod
    def open(cls, directory: Path, clock: Clock | None = None) -> LabState:
        """An existing lab. Raises NotFoundError where there is none."""
        if not (directory / "state.json").exists():
            raise NotFoundError(
                f"no lab in {directory}", hint="create one: vbm lab serve --state DIR --preset small"
            )
        state = cls(directory, clock)
        try:
            state.load()
        except BaseException:
            state.close()
            raise
        return state

    def close(self) -> None:
        self.store.close()
        super().close()

    def _machine(self, document: Json) -> Machine:
        return Machine.from_json(self, document)

    # --- the inventory's parts --------------------------------------------------------------------
    @property
    def root_folder(self) -> str:
        return self.inventory.root_folder

    @property
    def folders(self) -> dict[str, Folder]:
        return self.inventory.folders

    @property
    def datacenters(self) -> dict[str, Datacenter]:
        return self.inventory.datacenters

    @property
    def clusters(self) -> dict[str, Cluster]:
        return self.inventory.clusters

    @property
    def pools(self) -> dict[str, ResourcePool]:
        return self.inventory.pools

    @property
    def hosts(self) -> dict[str, Host]:
        return self.inventory.hosts

    @property
    def networks(self) -> dict[str, Network]:
        return self.inventory.networks

    # --- machines ---------------------------------------------------------------------------------
    def create_machine(self, spec: MachineSpec) -> Machine:
        """LabFault DuplicateName, InvalidName, InvalidDatastore, FileAlreadyExists, FileNotFound, NoDiskSpace."""
        with self.lock:
            machine = self._placed(spec)
            folder = self.resolve(join_path(machine.datastore, machine.directory))
            made = spec.materialise and not folder.exists()
            if spec.materialise:
                folder.mkdir(parents=True, exist_ok=True)
            try:
                for disk in spec.disks:
                    devices.attach(machine, disk)
            except BaseException:
                self._undo(machine, spec, folder if made else None)
                raise
            self.machines[machine.moref] = machine
            machine_files.write_vmx(machine)
            machine.changed(config=False)
        return machine

    def _undo(self, machine: Machine, spec: MachineSpec, folder: Path | None) -> None:
        for disk, wanted in zip(machine.disks, spec.disks, strict=False):
            for layer in disk.layers if not wanted.attach else ():
                self.store.delete(layer)
        if folder is not None:
            rmtree(folder, ignore_errors=True)

    def _placed(self, spec: MachineSpec) -> Machine:
        folder = spec.folder or next(iter(self.datacenters.values())).vm_folder
        self.check_name(folder, spec.name)
        datastore = self.datastore(spec.datastore or next(iter(self.datastores.values())).name)
        directory = spec.directory or (
            self.free_directory(datastore.name, spec.name) if spec.materialise else file_name_of(spec.name)
        )
        config = MachineConfig(
            name=spec.name,
            guest_id=spec.guest_id,
            hardware_version=spec.hardware_version,
            firmware=spec.firmware,
            cpus=spec.cpus,
            cores_per_socket=spec.cores_per_socket,
            memory_mb=spec.memory_mb,
            annotation=spec.annotation,
            controllers=list(spec.controllers) or devices.default_controllers(),
            nics=self._nics(spec),
            extra_config=dict(spec.extra_config),
            change_tracking_enabled=spec.change_tracking_enabled,
            key_id=spec.key_id,
            fault_tolerant=spec.fault_tolerant,
            managed_by=spec.managed_by,
        )
        machine = Machine(self, f"vm-{self.new_id()}", config)
        machine.instance_uuid = (spec.instance_uuid or str(uuid.uuid4())).lower()
        machine.bios_uuid = (spec.bios_uuid or f"4200{str(uuid.uuid4())[4:]}").lower()
        machine.folder = folder
        machine.host = spec.host or next(iter(self.hosts), "")
        machine.resource_pool = spec.resource_pool or next(iter(self.pools), "")
        machine.datastore, machine.directory = datastore.name, directory
        stem = spec.files_stem or file_name_of(spec.name)
        machine.vmx_path = join_path(datastore.name, f"{directory}/{stem}.vmx")
        machine.template = spec.template
        machine.materialised = spec.materialise
        return machine

    def _nics(self, spec: MachineSpec) -> list[Nic]:
        """As asked; a network may be named, and a missing MAC is made."""
        by_name = {network.name: moref for moref, network in self.networks.items()}
        found: list[Nic] = []
        for nic in spec.nics:
            mac = nic.mac or "00:50:56:" + ":".join(
                f"{byte:02x}" for byte in (self.new_id() & 0x3FFFFF).to_bytes(3, "big")
            )
            found.append(
                Nic(
                    nic.key,
                    by_name.get(nic.network, nic.network),
                    mac,
                    nic.kind,
                    nic.connected,
                    nic.address_type,
                )
            )
        return found

    def free_directory(self, datastore: str, wanted: str) -> str:
        """``name``, or ``name_1`` … where there is such a folder already."""
        base = file_name_of(wanted)
        for number in range(10000):
            name = f"{base}_{number}" if number else base
            if not self.resolve(join_path(datastore, name)).exists():
                return name
        raise LabFault("FileAlreadyExists", f"no free folder for {wanted}")

    def register_machine(
        self,
        vmx_path: str,
        name: str = "",
        *,
        folder: str = "",
        host: str = "",
        resource_pool: str = "",
        template: bool = False,
    ) -> Machine:
        """From the .vmx and .vmdk files on a datastore. LabFault NotFound, AlreadyExists, DuplicateName."""
        datastore, relative = split_path(vmx_path)
        directory, _, file_name = relative.rpartition("/")
        with self.lock:
            for other in self.machines.values():
                if other.vmx_path == vmx_path:
                    raise LabFault(
                        "AlreadyExists", f"{vmx_path} is registered", properties={"name": other.name}
                    )
            try:
                data = self.resolve(vmx_path).read_bytes()
            except OSError as error:
                raise LabFault("NotFound", f"no such file: {vmx_path}") from error
            volumes = {
                text: each.name for each in self.datastores.values() for text in (each.name, each.moref)
            }
            values: dict[str, Any] = machine_files.read_vmx(data, datastore, directory, volumes)
            values |= {"name": name} if name else {}
            known = {machine.instance_uuid for machine in self.machines.values()}
            if values["instance_uuid"] in known:
                values["instance_uuid"] = ""
            spec = MachineSpec(
                **{**values, "disks": ()},
                datastore=datastore,
                directory=directory,
                folder=folder,
                host=host,
                resource_pool=resource_pool,
                template=template,
                files_stem=file_name.removesuffix(".vmx"),
            )
            machine = self._placed(spec)
            for disk in values["disks"]:
                devices.attach(machine, disk)
            self.machines[machine.moref] = machine
            machine_files.write_vmx(machine)
            machine.changed(config=False)
        return machine

    def unregister(self, moref: str) -> None:
        """The files stay. LabFault InvalidPowerState unless powered off."""
        machine = self.machine(moref)
        with machine.operation("Unregister"):
            machine.require_off()
            self._drop(machine)

    def destroy(self, moref: str) -> None:
        """Files too. LabFault InvalidPowerState unless powered off."""
        machine = self.machine(moref)
        with machine.operation("Destroy"):
            machine.require_off()
            self._drop(machine)
            self._delete_files(machine)

    def vanish(self, moref: str) -> None:
        """As if somebody deleted it, whatever it is doing: the fault of a VM deleted during a backup."""
        machine = self.machine(moref)
        with machine.stun, machine.io:
            machine.power_state = OFF
            self._drop(machine)
            self._delete_files(machine)

    def _drop(self, machine: Machine) -> None:
        with self.lock:
            self.machines.pop(machine.moref, None)
            self.tags.pop(machine.moref, None)
            self.custom_values.pop(machine.moref, None)
            self._save_machine(machine.moref, None)
        machine.close()
        self._note(machine.moref)

    def _delete_files(self, machine: Machine) -> None:
        for layer in machine.layers.values():
            self.store.delete(layer)
        if machine.directory:
            rmtree(self.resolve(join_path(machine.datastore, machine.directory)), ignore_errors=True)
        rmtree(self.directory / "tracking" / machine.moref, ignore_errors=True)

    def machine(self, moref: str) -> Machine:
        """LabFault ManagedObjectNotFound."""
        found = self.machines.get(moref)
        if found is None:
            raise LabFault("ManagedObjectNotFound", f"no machine {moref}", properties={"obj": moref})
        return found

    def find_machine(self, text: str) -> Machine:
        """By moref, instance uuid, name or folder/name path. NotFoundError, or InputError for several."""
        machines = list(self.machines.values())
        exact = [each for each in machines if text in {each.moref, each.instance_uuid}]
        found = exact or [each for each in machines if text in {each.name, self.folder_path(each)}]
        if not found:
            near = difflib.get_close_matches(text, [each.name for each in machines], 1)
            raise NotFoundError(
                f"no VM {text!r} in the lab", hint=f"did you mean {near[0]!r}?" if near else ""
            )
        if len(found) > 1:
            paths = ", ".join(sorted(self.folder_path(each) for each in found))
            raise InputError(f"{len(found)} VMs are called {text!r}", hint=f"name one by its path: {paths}")
        return found[0]

    def folder_path(self, machine: Machine) -> str:
        """``Folder/name`` below the datacenter's vm folder."""
        return self.inventory_path(machine.moref).partition("/vm/")[2]

    def find_snapshot(self, moref: str) -> tuple[Machine, SnapshotNode]:
        """LabFault ManagedObjectNotFound."""
        for machine in list(self.machines.values()):
            for node in machine.all_snapshots():
                if node.moref == moref:
                    return machine, node
        raise LabFault("ManagedObjectNotFound", f"no snapshot {moref}", properties={"obj": moref})

    # --- inventory --------------------------------------------------------------------------------
    def entity(self, moref: str) -> Entity | Datastore | Machine:
        """LabFault ManagedObjectNotFound."""
        found = self.machines.get(moref) or self.datastores.get(moref) or self.inventory.find(moref)
        if found is None:
            raise LabFault("ManagedObjectNotFound", f"no object {moref}", properties={"obj": moref})
        return found

    def parent_of(self, moref: str) -> str:
        """The moref of what it hangs in, "" for the root folder."""
        entity = self.entity(moref)
        if isinstance(entity, Machine):
            return entity.folder
        if isinstance(entity, Datastore):
            return next(iter(self.datacenters.values())).datastore_folder
        return entity.parent

    def children(self, moref: str) -> list[str]:
        """Morefs of childEntity of a folder, in order of creation."""
        found = self.inventory.children(moref)
        found += [each.moref for each in list(self.machines.values()) if each.folder == moref]
        if any(each.datastore_folder == moref for each in self.datacenters.values()):
            found += list(self.datastores)
        return found

    def inventory_path(self, moref: str) -> str:
        """``DC/vm/folder/name``, each name escaped as vCenter keeps it; "" for the root folder."""
        names: list[str] = []
        while moref and moref != self.root_folder:
            names.insert(0, escaped(self.entity(moref).name))
            moref = self.parent_of(moref)
        return "/".join(names)

    def datacenter_of(self, moref: str) -> Datacenter:
        """LabFault NotFound for what is above every datacenter."""
        while moref:
            if moref in self.datacenters:
                return self.datacenters[moref]
            moref = self.parent_of(moref)
        raise LabFault("NotFound", "not within a datacenter")

    def check_name(self, folder: str, name: str, but: str = "") -> None:
        """LabFault DuplicateName, InvalidName."""
        check_entity_name(name)
        for moref in self.children(folder) if not self._batch else ():
            if moref != but and self.entity(moref).name == name:
                properties = {"name": name, "object": moref}
                raise LabFault("DuplicateName", f"there is a {name!r} already", properties=properties)

    def create_folder(self, parent: str, name: str) -> Folder:
        """LabFault DuplicateName, InvalidName, NotSupported (not below a folder)."""
        with self.lock:
            above = self.folders.get(parent)
            if above is None:
                raise LabFault("ManagedObjectNotFound", f"no folder {parent}", properties={"obj": parent})
            self.check_name(parent, name)
            folder = Folder(f"group-{above.kind[0]}{self.new_id()}", name, parent, above.kind)
            self.inventory.add(folder)
        self.touch(folder.moref)
        return folder

    def add_to_inventory(self, entity: Entity) -> None:
        """A datacenter, cluster, pool, host or network, as it is given."""
        with self.lock:
            self.inventory.add(entity)
        self.touch(entity.moref)

    def rename(self, moref: str, name: str) -> None:
        """LabFault DuplicateName, InvalidName."""
        entity = self.entity(moref)
        if isinstance(entity, Machine):
            entity.rename(name)
            return
        self.check_name(self.parent_of(moref), name, moref)
        if isinstance(entity, Datastore):
            raise LabFault("NotSupported", "a datastore of the lab keeps its name")
        entity.name = name
        self.touch(moref)

    def move_into(self, folder: str, moref: str) -> None:
        """LabFault DuplicateName, NotSupported."""
        entity = self.entity(moref)
        self.check_name(folder, entity.name, moref)
        if isinstance(entity, Machine):
            with entity.operation("MoveInto"):
                entity.folder = folder
        elif isinstance(entity, Folder) and folder in self.folders:
            entity.parent = folder
            self.touch(moref)
        else:
            raise LabFault("NotSupported", f"{moref} can't be moved into {folder}")

    def remove_folder(self, moref: str) -> None:
        """An empty one. LabFault ResourceInUse."""
        with self.lock:
            if self.children(moref):
                raise LabFault(
                    "ResourceInUse", f"{moref} is not empty", properties={"name": self.entity(moref).name}
                )
            self.inventory.remove(moref)
        self.touch(moref)

    # --- datastores -------------------------------------------------------------------------------
    def datastore(self, name: str) -> Datastore:
        """By name or moref. LabFault InvalidDatastore."""
        for each in self.datastores.values():
            if name in {each.name, each.moref}:
                return each
        raise LabFault("InvalidDatastore", f"no datastore {name!r}", properties={"name": name})

    def mount_datastore(
        self,
        name: str,
        kind: str,
        root: Path | None = None,
        *,
        hosts: tuple[str, ...] = (),
        remote: str = "",
        behaviour: Mapping[str, object] | None = None,
    ) -> Datastore:
        """``root`` None = DIR/datastores/<name>; no ``hosts`` = all. LabFault DuplicateName."""
        with self.lock:
            if any(each.name == name for each in self.datastores.values()):
                raise LabFault("DuplicateName", f"there is a datastore {name!r}", properties={"name": name})
            place = root or self.directory / "datastores" / file_name_of(name)
            moref = f"datastore-{self.new_id()}"
            datastore = Datastore(moref, name, kind, place, **{"remote": remote, **(behaviour or {})})
            self._add_datastore(datastore)
            for host in self.hosts.values():
                if not hosts or host.moref in hosts:
                    host.datastores = [*host.datastores, name]
        self.touch(datastore.moref)
        return datastore

    def unmount_datastore(self, name: str) -> None:
        """LabFault ResourceInUse while machines are on it."""
        with self.lock:
            datastore = self.datastore(name)
            if any(self._uses(machine, datastore.name) for machine in self.machines.values()):
                raise LabFault("ResourceInUse", f"{name} is in use", properties={"name": name})
            self.datastores.pop(datastore.moref)
            for host in self.hosts.values():
                host.datastores = [each for each in host.datastores if each != datastore.name]
        self.touch(datastore.moref)

    @staticmethod
    def _uses(machine: Machine, datastore: str) -> bool:
        return machine.datastore == datastore or any(
            each.datastore == datastore for each in machine.layers.values()
        )

    def resolve(self, datastore_path: str) -> Path:
        """The host's path of ``[ds] dir/file``. LabFault InvalidDatastorePath, InvalidDatastore."""
        name, relative = split_path(datastore_path)
        return self.datastore(name).path(relative)

    def locked_by(self, datastore: str, relative: str) -> Machine | None:
        """The running machine whose active files (head extent and descriptor, nvram, swap) include this one.

        They are not to be served or overwritten, as ESXi would not. Frozen parents are not locked for reading.
        """
        path = join_path(datastore, relative)
        folder = path.rpartition("/")[0]
        for machine in list(self.machines.values()):
            if machine.power_state != ON:
                continue
            for disk in machine.disks:
                head = disk.layers[-1]
                if path == f"{head.file_name.rpartition('/')[0]}/{head.extent_name}":
                    return machine
            if path in {
                f"{folder}/{machine_files.stem(machine)}{suffix}" for suffix in (".vswp", ".vmx.lck")
            }:
                return machine
        return None


def file_name_of(name: str) -> str:
    """A machine's name as the folder and files of vSphere bear it: ``/``, ``\\`` and control characters go."""
    cleaned = "".join(
        "_" if char in '/\\"*?<>|:' or ord(char) < 32 or ord(char) == 127 else char for char in name
    )
    return cleaned.strip(". ") or "vm"
