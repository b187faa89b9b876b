"""The values of the lab's vSphere: plain data, no files, no locks, no wire format.

Mutable records (``Machine`` holds one ``MachineConfig``) are changed only by the classes that own them,
under their locks; readers of other threads see whole values, since fields are replaced, not edited.
Names of kinds, modes and states are those of the vSphere API.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from vbm.units import KIB

GRAIN_BYTES: Final = 64 * KIB  # what change tracking can tell apart
AREAS_PER_PAGE: Final = 2000
MAX_SNAPSHOT_LEVELS: Final = 32

FLAT: Final = "flat"
VMFS_SPARSE: Final = "vmfsSparse"
SE_SPARSE: Final = "seSparse"
RDM: Final = "rdm"

ON: Final = "poweredOn"
OFF: Final = "poweredOff"
SUSPENDED: Final = "suspended"


class LabFault(Exception):  # noqa: N818 - the API's own word
    """A refusal as vSphere would give it: ``fault`` names the vim or vmodl type without its package.

    ``properties`` are fields of that type (``invalidProperty``, ``file``, ``datastore`` …);
    ``message_keys`` become ``faultMessage[].key`` of it.
    """

    def __init__(
        self,
        fault: str,
        message: str,
        *,
        properties: Mapping[str, object] = MappingProxyType({}),
        message_keys: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"{fault}: {message}")
        self.fault = fault
        self.message = message
        self.properties = dict(properties)
        self.message_keys = message_keys


@dataclass(slots=True, eq=False)
class Layer:
    """One link of a disk's chain: a descriptor and its extent. Shared by every chain that goes through it.

    ``cid`` follows VMware's habit: a fresh delta bears its parent's CID until it is closed after writes.
    """

    id: str
    datastore: str  # name
    file_name: str  # "[datastore] dir/x-000001.vmdk": the descriptor
    extent_name: str  # "x-000001-delta.vmdk" beside the descriptor, or "vsan://<uuid>"
    format: str  # flat | vmfsSparse | seSparse | rdm
    capacity_bytes: int
    cid: int
    parent_cid: int
    thin: bool = True
    change_id: str | None = None  # of the epoch at which it was frozen; of the running epoch for the head
    written: bool = False  # since it was created or its CID was renewed
    key_id: str = ""  # not empty: what the host stores is ciphertext


@dataclass(slots=True, eq=False)
class VirtualDisk:
    """A disk of the running machine (its last layer takes writes) or of a snapshot (all layers frozen)."""

    key: int
    label: str
    controller_key: int
    unit: int
    capacity_bytes: int
    uuid: str  # "6000C29x-…", as ddb.uuid
    object_id: str  # diskObjectId "<n>-<key>": the same in the machine and in its snapshots
    datastore: str
    layers: list[Layer]  # base first; [-1] is the backing, the ones before it its parents
    thin: bool = True
    mode: str = "persistent"
    sharing: str = "sharingNone"
    rdm: str = ""  # "" | virtualMode | physicalMode
    delta_format: str = ""  # vmfsSparse | seSparse: what its snapshots use; "" = by size
    key_id: str = ""  # encrypted with that key

    @property
    def file_name(self) -> str:
        return self.layers[-1].file_name

    @property
    def change_id(self) -> str | None:
        return self.layers[-1].change_id

    @property
    def independent(self) -> bool:
        return self.mode.startswith("independent")

    @property
    def in_snapshots(self) -> bool:
        """Whether a snapshot freezes it: independent disks and physical RDMs go on being written."""
        return not self.independent and self.rdm != "physicalMode"


@dataclass(slots=True)
class Controller:
    key: int
    kind: str  # pvscsi | lsilogic | lsilogicsas | buslogic | nvme | ahci | ide
    bus_number: int = 0
    shared_bus: str = "noSharing"  # | virtualSharing | physicalSharing


@dataclass(slots=True)
class Nic:
    key: int
    network: str  # moref of the network
    mac: str
    kind: str = "vmxnet3"  # | e1000e | e1000
    connected: bool = True
    address_type: str = "assigned"


@dataclass(slots=True)
class MachineConfig:
    """What ``vm.config`` and ``snapshot.config`` show. A snapshot has its own copy with frozen disks."""

    name: str
    guest_id: str = "otherLinux64Guest"
    hardware_version: str = "vmx-19"
    firmware: str = "bios"
    cpus: int = 2
    cores_per_socket: int = 1
    memory_mb: int = 2048
    annotation: str = ""
    controllers: list[Controller] = field(default_factory=list)
    disks: list[VirtualDisk] = field(default_factory=list)
    nics: list[Nic] = field(default_factory=list)
    extra_config: dict[str, str] = field(default_factory=dict)
    change_tracking_enabled: bool = False
    key_id: str = ""  # the machine's home is encrypted with that key
    fault_tolerant: bool = False
    managed_by: str = ""  # extension key


@dataclass(slots=True, eq=False)
class SnapshotNode:
    """One snapshot of the tree, with the configuration as it was."""

    moref: str
    id: int  # 1, 2, 3 … within the machine
    name: str
    description: str
    created: datetime
    quiesced: bool
    power_state: str  # of the machine when it was taken; poweredOn only with memory
    config: MachineConfig
    memory: bool = False
    children: list[SnapshotNode] = field(default_factory=list)

    def disk(self, key: int) -> VirtualDisk:
        """The frozen disk. Raises LabFault InvalidArgument(deviceKey)."""
        return find_disk(self.config, key)

    def walk(self) -> list[SnapshotNode]:
        """This node and all below it, parents first."""
        return [self, *(node for child in self.children for node in child.walk())]


@dataclass(frozen=True, slots=True)
class Area:
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class ChangeInfo:
    """DiskChangeInfo: ``areas`` within ``[start, start + length)``; the next page begins at its end."""

    start: int
    length: int
    areas: tuple[Area, ...]


@dataclass(frozen=True, slots=True)
class LayoutFile:
    """One file as ``layoutEx.file`` lists it."""

    path: str  # "[datastore] dir/file"
    type: str  # config | nvram | diskDescriptor | diskExtent | snapshotList | snapshotData | log | swap …
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DiskSpec:
    """A disk to be made (``capacity_bytes``, filled from ``source`` or ``clone``) or attached (``file_name``)."""

    capacity_bytes: int = 0
    source: Path | None = None  # raw image to be copied, holes kept; a shorter one is padded with zeros
    file_name: str = (
        ""  # "[datastore] dir/x.vmdk": an existing descriptor to attach, or the name wanted for a new one
    )
    attach: bool = False  # ``file_name`` exists and is to be attached
    datastore: str = ""  # name; "" = the machine's
    thin: bool = True
    mode: str = "persistent"
    sharing: str = "sharingNone"
    rdm: str = ""
    delta_format: str = ""
    controller_key: int | None = None  # None = the first controller
    unit: int | None = None
    key: int | None = None
    uuid: str = ""
    key_id: str = ""
    materialise: bool = True  # False: metadata only; files appear when first needed


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """A machine to be created."""

    name: str
    datastore: str = ""  # name; "" = the first one
    directory: str = ""  # below the datastore; "" = the name, made unique
    folder: str = ""  # moref; "" = the vm folder
    host: str = ""  # moref; "" = the first
    resource_pool: str = ""
    guest_id: str = "otherLinux64Guest"
    hardware_version: str = "vmx-19"
    firmware: str = "bios"
    cpus: int = 2
    cores_per_socket: int = 1
    memory_mb: int = 2048
    annotation: str = ""
    controllers: tuple[Controller, ...] = ()  # () = one pvscsi, key 1000
    nics: tuple[Nic, ...] = ()
    disks: tuple[DiskSpec, ...] = ()
    extra_config: Mapping[str, str] = field(default_factory=dict)
    change_tracking_enabled: bool = False
    template: bool = False
    key_id: str = ""
    fault_tolerant: bool = False
    managed_by: str = ""
    instance_uuid: str = ""
    bios_uuid: str = ""
    files_stem: str = ""  # common name of its files; "" = made of the name
    materialise: bool = True


@dataclass(slots=True)
class Folder:
    moref: str
    name: str
    parent: str  # moref; "" for the root
    kind: str  # root | vm | host | datastore | network


@dataclass(slots=True)
class Datacenter:
    moref: str
    name: str
    parent: str
    vm_folder: str
    host_folder: str
    datastore_folder: str
    network_folder: str


@dataclass(slots=True)
class Cluster:
    """ClusterComputeResource."""

    moref: str
    name: str
    parent: str
    resource_pool: str  # its root pool


@dataclass(slots=True)
class ResourcePool:
    moref: str
    name: str
    parent: str  # moref of a cluster or a pool
    owner: str  # cluster


@dataclass(slots=True)
class Host:
    moref: str
    name: str
    parent: str  # cluster
    connection_state: str = "connected"  # | disconnected | notResponding
    in_maintenance: bool = False
    datastores: list[str] = field(default_factory=list)  # names
    networks: list[str] = field(default_factory=list)  # morefs


@dataclass(slots=True)
class Network:
    moref: str
    name: str
    parent: str


@dataclass(slots=True)
class About:
    name: str
    instance_uuid: str
    version: str = "8.0.3"
    build: str = "24322831"
    api_version: str = "8.0.3.0"
    api_type: str = "VirtualCenter"


def find_disk(config: MachineConfig, key: int) -> VirtualDisk:
    """The disk of that key. Raises LabFault InvalidArgument with invalidProperty ``deviceKey``."""
    for disk in config.disks:
        if disk.key == key:
            return disk
    raise LabFault(
        "InvalidArgument",
        f"no disk with key {key} in {config.name}",
        properties={"invalidProperty": "deviceKey"},
        message_keys=("vmodl.fault.InvalidArgument.invalidProperty",),
    )


def split_path(path: str) -> tuple[str, str]:
    """``("ds", "dir/x.vmdk")`` of ``"[ds] dir/x.vmdk"``. Raises LabFault InvalidDatastorePath."""
    name, bracket, relative = path.removeprefix("[").partition("]")
    if not path.startswith("[") or not bracket or not name:
        raise LabFault(
            "InvalidDatastorePath", f"not a datastore path: {path!r}", properties={"datastorePath": path}
        )
    return name, relative.removeprefix(" ")


def join_path(datastore: str, relative: str) -> str:
    return f"[{datastore}] {relative}"
