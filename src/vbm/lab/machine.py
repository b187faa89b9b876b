"""One virtual machine of the lab: what may be done to it and when, as vSphere allows it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from vbm.clock import Clock
from vbm.lab import devices, disk_chain, machine_files, snapshots, tracking
from vbm.lab.change_tracking import Tracker, split_change_id
from vbm.lab.codec import (
    Json,
    config_from_json,
    config_to_json,
    layers_from_json,
    layers_to_json,
    snapshot_from_json,
    snapshot_to_json,
)
from vbm.lab.datastore import Datastore
from vbm.lab.layer_store import LayerStore
from vbm.lab.model import (
    OFF,
    ON,
    SUSPENDED,
    ChangeInfo,
    Controller,
    DiskSpec,
    LabFault,
    Layer,
    LayoutFile,
    MachineConfig,
    Network,
    Nic,
    SnapshotNode,
    VirtualDisk,
    find_disk,
)

_PERSISTED = (
    "moref", "instance_uuid", "bios_uuid", "folder", "host", "resource_pool", "datastore", "directory", "vmx_path",
    "power_state", "template", "connection_state", "consolidation_needed", "tools_running", "quiesce_fault",
    "change_version", "next_snapshot_id", "materialised",
)  # fmt: skip


class FrozenView(Protocol):
    """A ByteSource of a disk's bytes as of a snapshot; thread-safe; LabFault once the snapshot is removed."""

    size_bytes: int

    def read_at(self, offset: int, length: int) -> bytes: ...

    def allocated(self) -> list[tuple[int, int]]:
        """Ascending (start, length) of what is allocated anywhere in the chain; the rest reads as zeros."""

    def close(self) -> None: ...


class Surroundings(Protocol):
    """What a machine needs of the lab it is in."""

    directory: Path
    clock: Clock
    store: LayerStore

    @property
    def machines(self) -> dict[str, Machine]: ...

    @property
    def networks(self) -> dict[str, Network]: ...

    def datastore(self, name: str) -> Datastore: ...

    def resolve(self, datastore_path: str) -> Path: ...

    def save(self, machine: Machine) -> None: ...

    def new_id(self) -> int: ...

    def log(self, event: str, **fields: object) -> None: ...

    def check_name(self, folder: str, name: str, but: str = "") -> None: ...

    def free_directory(self, datastore: str, wanted: str) -> str: ...


class Machine:
    """Thread-safe. One operation (power, snapshot, reconfigure, relocate) at a time: another one meanwhile
    raises LabFault TaskInProgress. Guest reads and writes go on at any time, atomic per call with respect to
    snapshots. Every method may raise LabFault; nothing is changed then. Changes are persisted on return.

    Locks, in this order: the operation (never waited for) → ``stun`` (held by ``quiet``) → ``io`` (held for
    one guest access, and while a chain changes) → the state's own.
    """

    def __init__(self, lab: Surroundings, moref: str, config: MachineConfig) -> None:
        self.lab = lab
        self.moref = moref
        self.config = config
        self.instance_uuid = ""
        self.bios_uuid = ""
        self.folder = ""  # moref
        self.host = ""  # moref
        self.resource_pool = ""  # moref
        self.datastore = ""  # name: of its home
        self.directory = ""  # below the datastore
        self.vmx_path = ""  # "[ds] dir/x.vmx"
        self.power_state = OFF
        self.template = False
        self.connection_state = "connected"  # | disconnected | orphaned | inaccessible | invalid
        self.snapshots: list[SnapshotNode] = []  # the roots of the tree
        self.current_snapshot: SnapshotNode | None = None
        self.consolidation_needed = False
        self.tools_running = True  # as soon as it is powered on
        self.quiesce_fault = ""  # not empty: a quiesced snapshot fails with it (ApplicationQuiesceFault …)
        self.change_version = "1"  # config.changeVersion: another one after each change of the configuration
        self.busy = ""  # the operation under way, "" = none
        self.version = 0  # grows with each change; see LabState.wait_for_change
        self.next_snapshot_id = 1
        self.materialised = True
        self.layers: dict[str, Layer] = {}  # every layer of the machine and its snapshots
        self.trackers: dict[int, Tracker] = {}
        self.dirty: dict[int, list[tuple[int, int]]] = {}  # guest writes while a running disk is consolidated
        self.stun = threading.RLock()
        self.io = threading.RLock()
        self._operating = threading.Lock()

    # --- persistence ------------------------------------------------------------------------------
    def to_json(self) -> Json:
        configs = [self.config, *(node.config for node in self.all_snapshots())]
        document: Json = {name: getattr(self, name) for name in _PERSISTED}
        document["config"] = config_to_json(self.config)
        document["layers"] = layers_to_json(configs)
        document["snapshots"] = [snapshot_to_json(node) for node in self.snapshots]
        document["current_snapshot"] = self.current_snapshot.moref if self.current_snapshot else ""
        return document

    @classmethod
    def from_json(cls, lab: Surroundings, document: Json) -> Machine:
        layers = layers_from_json(document["layers"])
        machine = cls(lab, document["moref"], config_from_json(document["config"], layers))
        for name in _PERSISTED:
            setattr(machine, name, document[name])
        machine.layers = layers
        machine.snapshots = [snapshot_from_json(each, layers) for each in document["snapshots"]]
        current = document["current_snapshot"]
        machine.current_snapshot = machine.snapshot(current) if current else None
        return machine

    def changed(self, *, config: bool = True) -> None:
        """Persist, and tell who waits for changes."""
        if config:
            self.change_version = str(int(self.change_version) + 1)
        self.lab.save(self)

    @contextmanager
    def operation(self, name: str) -> Iterator[None]:
        """The only one at a time. Persists at the end, also of what a failed one has got to."""
        if not self._operating.acquire(blocking=False):
            raise LabFault(
                "TaskInProgress", f"{self.name}: {self.busy or 'another operation'} is in progress"
            )
        try:
            self.busy = name
            yield
        finally:
            self.busy = ""
            try:
                self.changed()
            finally:
                self._operating.release()

    # --- shorthands -------------------------------------------------------------------------------
    @property
    def name(self) -> str:
        return self.config.name

    @property
    def disks(self) -> list[VirtualDisk]:
        return self.config.disks

    @property
    def change_tracking_enabled(self) -> bool:
        return self.config.change_tracking_enabled

    @property
    def store(self) -> LayerStore:
        return self.lab.store

    def disk(self, key: int) -> VirtualDisk:
        """Raises LabFault InvalidArgument(deviceKey)."""
        return find_disk(self.config, key)

    def snapshot(self, moref: str) -> SnapshotNode:
        """Raises LabFault ManagedObjectNotFound."""
        for node in self.all_snapshots():
            if node.moref == moref:
                return node
        raise LabFault("ManagedObjectNotFound", f"no snapshot {moref}", properties={"obj": moref})

    def all_snapshots(self) -> list[SnapshotNode]:
        """The whole tree, parents first."""
        return [node for root in self.snapshots for node in root.walk()]

    def layout(self) -> list[LayoutFile]:
        """Every file of the machine as layoutEx lists them (no diskExtent where flats are not served)."""
        return machine_files.layout(self)

    def require_off(self) -> None:
        if self.power_state != OFF:
            properties = {"requestedState": OFF, "existingState": self.power_state}
            raise LabFault("InvalidPowerState", f"{self.name} is {self.power_state}", properties=properties)

    # --- power ------------------------------------------------------------------------------------
    def power_on(self) -> None:
        with self.operation("PowerOn"):
            if self.template:
                raise LabFault("NotSupported", f"{self.name} is a template")
            if self.power_state == ON:
                properties = {"requestedState": ON, "existingState": ON}
                raise LabFault("InvalidPowerState", f"{self.name} is powered on", properties=properties)
            with self.stun, self.io:
                self.materialise()
                machine_files.write_nvram(self)
                tracking.stunned(self)
                self.power_state = ON

    def power_off(self) -> None:
        with self.operation("PowerOff"):
            if self.power_state == OFF:
                properties = {"requestedState": OFF, "existingState": OFF}
                raise LabFault("InvalidPowerState", f"{self.name} is powered off", properties=properties)
            with self.stun, self.io:
                self.power_state = OFF

    def suspend(self) -> None:
        with self.operation("Suspend"):
            if self.power_state != ON:
                properties = {"requestedState": SUSPENDED, "existingState": self.power_state}
                raise LabFault(
                    "InvalidPowerState", f"{self.name} is {self.power_state}", properties=properties
                )
            with self.stun, self.io:
                tracking.stunned(self)
                self.power_state = SUSPENDED

    def lose_power(self) -> None:
        """The host dies under it: off, unclean; change tracking starts anew, earlier ids are refused."""
        with self.operation("HostFailure"), self.stun, self.io:
            self.power_state = OFF
            tracking.restart(self)

    # --- snapshots --------------------------------------------------------------------------------
    def take_snapshot(
        self, name: str, description: str = "", *, memory: bool = False, quiesce: bool = False
    ) -> SnapshotNode:
        """Faults: TooManySnapshotLevels, SnapshotIncompatibleDeviceInVm, MemorySnapshotOnIndependentDisk,
        NotSupported (template), InvalidName, NoDiskSpace, the quiesce faults, TaskInProgress.
        """
        with self.operation("CreateSnapshot"):
            node = snapshots.take(self, name, description, memory=memory, quiesce=quiesce)
        self.lab.log("snapshot-created", vm=self.moref, name=name, snapshot=node.moref)
        return node

    def remove_snapshot(
        self,
        moref: str,
        *,
        remove_children: bool = False,
        consolidate: bool = True,
        progress: Callable[[int], None] | None = None,
        fail_consolidation: bool = False,
        bytes_per_second: int = 0,
    ) -> None:
        """The snapshot goes at once; then its deltas are merged, which takes as long as it takes.

        ``fail_consolidation``: the deltas stay and ``consolidation_needed`` is set.
        """
        with self.operation("RemoveSnapshot"):
            name = snapshots.forget(self, moref, remove_children=remove_children)
            self.lab.log("snapshot-removed", vm=self.moref, name=name, snapshot=moref)
            if consolidate and not fail_consolidation:
                snapshots.consolidate(self, progress, bytes_per_second)
            else:
                self.consolidation_needed = snapshots.needs_consolidation(self)

    def remove_all_snapshots(self, progress: Callable[[int], None] | None = None) -> None:
        with self.operation("RemoveAllSnapshots"):
            for root in list(self.snapshots):
                snapshots.forget(self, root.moref, remove_children=True)
                self.lab.log("snapshot-removed", vm=self.moref, name=root.name, snapshot=root.moref)
            snapshots.consolidate(self, progress, 0)

    def rename_snapshot(self, moref: str, name: str | None = None, description: str | None = None) -> None:
        with self.operation("RenameSnapshot"):
            node = self.snapshot(moref)
            node.name = node.name if name is None else name
            node.description = node.description if description is None else description
            machine_files.write_vmsd(self)

    def revert(self, moref: str | None = None) -> None:
        """To that snapshot, or the current one (NotFound where there is none). Change tracking restarts."""
        with self.operation("RevertToSnapshot"):
            snapshots.revert(self, moref)

    def consolidate(
        self, progress: Callable[[int], None] | None = None, *, bytes_per_second: int = 0
    ) -> None:
        with self.operation("ConsolidateVMDisks"):
            snapshots.consolidate(self, progress, bytes_per_second)

    # --- change tracking --------------------------------------------------------------------------
    def set_change_tracking(self, enabled: bool) -> None:
        """Sets the flag; it takes effect at the next stun. InvalidSnapshotState while it has snapshots."""
        with self.operation("Reconfigure"):
            if enabled != self.config.change_tracking_enabled and self.snapshots:
                raise LabFault(
                    "InvalidSnapshotState", f"{self.name} has snapshots: change tracking can't be switched"
                )
            self.config.change_tracking_enabled = enabled

    def reset_change_tracking(self, key: int | None = None) -> None:
        """As after an incident: the running disks (or one) get a fresh uuid; earlier ids are refused."""
        with self.io:
            tracking.restart(self, key)
            self.changed()

    def lose_changes(self, key: int | None = None) -> None:
        """As after a bug of the platform: what was written since the last snapshot is silently forgotten."""
        with self.io:
            for disk in self.disks:
                if key in {None, disk.key}:
                    tracking.tracker(self, disk).lose()

    def changed_areas(self, snapshot: str | None, key: int, start: int, change_id: str) -> ChangeInfo:
        """QueryChangedDiskAreas. Faults: NotFound, InvalidArgument (deviceKey, startOffset, changeId) and
        FileFault with noTrack, noEpoch or cannotGetChanges.
        """
        info = tracking.changed_areas(self, snapshot, key, start, change_id)
        self.lab.log(
            "changed-areas", vm=self.moref, disk=key, start=start, change_id=change_id, areas=len(info.areas)
        )
        return info

    # --- configuration ----------------------------------------------------------------------------
    def attach_disk(self, spec: DiskSpec) -> VirtualDisk:
        """A new or an existing disk. Faults: FileNotFound, FileAlreadyExists, InvalidDeviceSpec."""
        with self.operation("Reconfigure"):
            return devices.attach(self, spec)

    def detach_disk(self, key: int, *, delete_files: bool = False) -> None:
        with self.operation("Reconfigure"):
            devices.detach(self, key, delete_files=delete_files)

    def grow_disk(self, key: int, capacity_bytes: int) -> None:
        """Faults: InvalidDeviceOperation with snapshots or to a smaller size. Change tracking restarts."""
        with self.operation("Reconfigure"):
            devices.grow(self, key, capacity_bytes)

    def edit(self, **fields: object) -> None:
        """Set fields of ``config`` by name; ``extra_config`` is merged, ``""`` removes a key."""
        with self.operation("Reconfigure"):
            devices.edit(self, fields)

    def edit_disk(self, key: int, *, mode: str | None = None, sharing: str | None = None) -> None:
        """Mode and sharing of a disk; InvalidDeviceOperation while it has snapshots."""
        with self.operation("Reconfigure"):
            devices.edit_disk(self, key, mode, sharing)

    def set_controllers(self, controllers: list[Controller]) -> None:
        with self.operation("Reconfigure"):
            self.config.controllers = list(controllers)
            machine_files.write_vmx(self)

    def set_nics(self, nics: list[Nic]) -> None:
        with self.operation("Reconfigure"):
            self.config.nics = list(nics)
            machine_files.write_vmx(self)

    def rename(self, name: str) -> None:
        """The files keep their names, as in vSphere. Faults: DuplicateName, InvalidName."""
        with self.operation("Rename"):
            self.lab.check_name(self.folder, name, self.moref)
            self.config.name = name
            machine_files.write_vmx(self)

    def set_template(self, template: bool) -> None:
        """MarkAsTemplate, MarkAsVirtualMachine: powered off only."""
        with self.operation("MarkAsTemplate"):
            self.require_off()
            self.template = template

    def relocate(self, datastore: str = "", host: str = "", resource_pool: str = "") -> None:
        """vMotion (host only: change tracking survives) or storage migration (files move, tracking restarts)."""
        with self.operation("Relocate"):
            devices.relocate(self, datastore, host, resource_pool)

    # --- the guest --------------------------------------------------------------------------------
    def guest_write(self, disk_index: int, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Works on a powered-off machine too (the lab's `write` command plays both). Faults: NoDiskSpace."""
        with self.io:
            disk = self._guest_range(disk_index, offset, len(data))
            if not len(data):
                return
            self._before_write(disk, offset, len(data))
            disk_chain.write(self.store.files(disk.layers), offset, data)

    def guest_zero(self, disk_index: int, offset: int, length: int) -> None:
        with self.io:
            disk = self._guest_range(disk_index, offset, length)
            if length:
                self._before_write(disk, offset, length)
                disk_chain.zero(self.store.files(disk.layers), offset, length)

    def guest_read(self, disk_index: int, offset: int, length: int) -> bytes:
        with self.io:
            disk = self._guest_range(disk_index, offset, length)
            return bytes(disk_chain.read(self.store.files(disk.layers), offset, length))

    def _guest_range(self, disk_index: int, offset: int, length: int) -> VirtualDisk:
        if not 0 <= disk_index < len(self.disks):
            raise LabFault("InvalidArgument", f"{self.name} has no disk {disk_index}")
        disk = self.disks[disk_index]
        if offset < 0 or length < 0 or offset + length > disk.capacity_bytes:
            raise LabFault(
                "InvalidArgument", f"{offset}+{length} is not within the disk of {disk.capacity_bytes} bytes"
            )
        self.materialise()
        return disk

    def _before_write(self, disk: VirtualDisk, offset: int, length: int) -> None:
        head = disk.layers[-1]
        self.lab.datastore(head.datastore).take_space(length)
        tracking.tracker(self, disk).mark(offset, length)
        if disk.key in self.dirty:
            self.dirty[disk.key].append((offset, length))
        if not head.written:
            head.written = True
            self.changed(config=False)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Holds off snapshots while a batch of guest writes goes on, so that one falls between batches."""
        with self.stun:
            yield

    # --- bytes ------------------------------------------------------------------------------------
    def frozen_reader(self, snapshot: str, key: int) -> FrozenView:
        """A disk as of a snapshot; an independent disk as it is at each read."""
        with self.io:
            disk = self.snapshot(snapshot).disk(key)
            files = self.store.files(disk.layers)

        def alive() -> bool:
            return any(node.moref == snapshot for node in self.all_snapshots())

        return disk_chain.FrozenChain(files, disk.capacity_bytes, alive)

    def current_reader(self, key: int) -> FrozenView:
        """Of a machine that is not powered on (ExportVm); of a running one: as of each call."""
        with self.io:
            self.materialise()
            disk = self.disk(key)
            return disk_chain.FrozenChain(self.store.files(disk.layers), disk.capacity_bytes, lambda: True)

    def import_write(self, key: int, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Fills a disk from outside (NFC import); powered off only."""
        self.require_off()
        self.guest_write(self.disks.index(self.disk(key)), offset, data)

    def materialise(self) -> None:
        """Make the files of a machine that is metadata only so far (preset large). Cheap when done."""
        if not self.materialised:
            with self.io:
                devices.materialise(self)

    def change_sequence(self, key: int) -> int:
        """The epoch the running disk is in, 0 = not tracked."""
        change_id = self.disk(key).change_id
        return 0 if change_id is None else split_change_id(change_id)[1]

    def close(self) -> None:
        for each in self.trackers.values():
            each.close()
