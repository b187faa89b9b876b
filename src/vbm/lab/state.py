"""The whole of a lab: inventory, machines, settings, in one folder that survives `kill -9`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vbm.clock import Clock, SystemClock
from vbm.lab.datastore import Datastore
from vbm.lab.machine import Machine
from vbm.lab.model import (
    About,
    Cluster,
    Datacenter,
    Folder,
    Host,
    MachineSpec,
    Network,
    ResourcePool,
    SnapshotNode,
)


class LabState:
    """Thread-safe. The dictionaries are for reading; the methods change them and persist the change.

    One process at a time: ``create`` and ``open`` take an exclusive lock on ``DIR/lock`` and raise
    LabBusyError while another process holds it.
    """

    directory: Path
    clock: Clock
    about: About
    root_folder: str  # moref
    folders: dict[str, Folder]  # by moref, as all of these
    datacenters: dict[str, Datacenter]
    clusters: dict[str, Cluster]
    pools: dict[str, ResourcePool]
    hosts: dict[str, Host]
    networks: dict[str, Network]
    datastores: dict[str, Datastore]
    machines: dict[str, Machine]
    tags: dict[str, list[str]]  # entity moref -> ["category/tag", …]
    custom_fields: dict[int, str]  # key -> name
    custom_values: dict[str, dict[int, str]]  # entity moref -> field key -> value
    version: int

    @classmethod
    def create(cls, directory: Path, preset: str = "small", clock: Clock | None = None) -> LabState:
        """A new lab. Raises InputError for an unknown preset or a folder that holds a lab already."""
        raise NotImplementedError

    @classmethod
    def open(cls, directory: Path, clock: Clock | None = None) -> LabState:
        """An existing lab. Raises NotFoundError where there is none."""
        raise NotImplementedError

    def close(self) -> None: ...

    # --- machines ---------------------------------------------------------------------------------
    def create_machine(self, spec: MachineSpec) -> Machine:
        """LabFault DuplicateName, InvalidDatastore, FileAlreadyExists, NoDiskSpace."""
        raise NotImplementedError

    def register_machine(
        self, vmx_path: str, name: str = "", *, folder: str = "", host: str = "", resource_pool: str = "",
        template: bool = False,
    ) -> Machine:
        """From the .vmx and .vmdk files on a datastore. LabFault NotFound, AlreadyExists, DuplicateName."""
        raise NotImplementedError

    def unregister(self, moref: str) -> None: ...
    def destroy(self, moref: str) -> None:
        """Files too. LabFault InvalidPowerState unless powered off."""
    def vanish(self, moref: str) -> None:
        """As if somebody deleted it, whatever state it is in: the fault of a VM deleted during a backup."""
    def machine(self, moref: str) -> Machine:
        """LabFault ManagedObjectNotFound."""
        raise NotImplementedError

    def find_machine(self, text: str) -> Machine:
        """By moref, instance uuid, name or folder/name path. NotFoundError, or InputError for several."""
        raise NotImplementedError

    def find_snapshot(self, moref: str) -> tuple[Machine, SnapshotNode]:
        """LabFault ManagedObjectNotFound."""
        raise NotImplementedError

    # --- inventory --------------------------------------------------------------------------------
    def entity(self, moref: str) -> object:
        """Folder, Datacenter, Cluster, ResourcePool, Host, Network, Datastore or Machine. ManagedObjectNotFound."""
        raise NotImplementedError

    def children(self, moref: str) -> list[str]:
        """Morefs of childEntity of a folder, in order of creation."""
        raise NotImplementedError

    def inventory_path(self, moref: str) -> str:
        """``DC/vm/folder/name``, each name %-escaped as the inventory has it (``/`` ``\\`` ``%``)."""
        raise NotImplementedError

    def datacenter_of(self, moref: str) -> Datacenter:
        raise NotImplementedError

    def create_folder(self, parent: str, name: str) -> Folder:
        """LabFault DuplicateName, InvalidName."""
        raise NotImplementedError

    def rename(self, moref: str, name: str) -> None: ...
    def move_into(self, folder: str, moref: str) -> None: ...
    def remove_folder(self, moref: str) -> None: ...
    def datastore(self, name: str) -> Datastore:
        """By name or moref. LabFault InvalidDatastore."""
        raise NotImplementedError

    def mount_datastore(
        self, name: str, kind: str, root: Path | None = None, *, hosts: tuple[str, ...] = (), remote: str = "",
        behaviour: Mapping[str, object] | None = None,
    ) -> Datastore:
        """``root`` None = DIR/datastores/<name>. LabFault DuplicateName."""
        raise NotImplementedError

    def unmount_datastore(self, name: str) -> None:
        """LabFault ResourceInUse while machines are on it."""

    def resolve(self, datastore_path: str) -> Path:
        """The host's path of ``[ds] dir/file``. LabFault InvalidDatastorePath, InvalidDatastore."""
        raise NotImplementedError

    def locked_by(self, datastore: str, relative: str) -> Machine | None:
        """The running machine whose active files (head extent, nvram, swap) include this one: not to be
        served or overwritten, as ESXi would not. Frozen parents of a snapshot are not locked for reading."""
        raise NotImplementedError

    # --- changes ----------------------------------------------------------------------------------
    def touch(self, moref: str) -> None:
        """That object has changed: persists it, and wakes ``wait_for_change``."""

    def wait_for_change(self, since: int, seconds: float) -> int:
        """The version now, waiting at most so long for it to exceed ``since``."""
        raise NotImplementedError

    def changed_since(self, since: int) -> set[str]:
        """Morefs of objects changed (or gone) after that version."""
        raise NotImplementedError

    def new_id(self) -> int:
        """A number never used before in this lab, also after a restart."""
        raise NotImplementedError

    def log(self, event: str, **fields: object) -> None:
        """One JSON line in DIR/events.jsonl, with the wall time."""
