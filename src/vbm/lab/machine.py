"""One virtual machine of the lab: what may be done to it and when, as vSphere allows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from vbm.lab.model import (
    ChangeInfo,
    Controller,
    DiskSpec,
    LayoutFile,
    MachineConfig,
    Nic,
    SnapshotNode,
    VirtualDisk,
)

if TYPE_CHECKING:
    from vbm.lab.state import LabState


class FrozenView(Protocol):
    """A ByteSource of a disk's bytes as of a snapshot; thread-safe; LabFault once the snapshot is removed."""

    size_bytes: int

    def read_at(self, offset: int, length: int) -> bytes: ...

    def allocated(self) -> list[tuple[int, int]]:
        """Ascending (start, length) of what is allocated anywhere in the chain; the rest reads as zeros."""

    def close(self) -> None: ...


class Machine:
    """Thread-safe. One operation (power, snapshot, reconfigure, relocate) at a time: another one meanwhile
    raises LabFault TaskInProgress. Guest reads and writes go on at any time, atomic per call with respect to
    snapshots. Every method may raise LabFault; nothing is changed then. Changes are persisted on return.
    """

    state: LabState
    moref: str
    config: MachineConfig
    instance_uuid: str
    bios_uuid: str
    folder: str  # moref
    host: str  # moref
    resource_pool: str  # moref
    datastore: str  # name: of its home
    directory: str  # below the datastore
    vmx_path: str  # "[ds] dir/x.vmx"
    power_state: str
    template: bool
    connection_state: str  # connected | disconnected | orphaned | inaccessible | invalid
    snapshots: list[SnapshotNode]  # the roots of the tree
    current_snapshot: SnapshotNode | None
    consolidation_needed: bool
    tools_running: bool
    quiesce_fault: str  # not empty: a quiesced snapshot fails with it (ApplicationQuiesceFault …)
    change_version: str  # config.changeVersion: another one after each change of the configuration
    busy: str  # the operation under way, "" = none
    version: int  # grows with each change; see LabState.wait_for_change

    # --- shorthands -------------------------------------------------------------------------------
    @property
    def name(self) -> str: ...
    @property
    def disks(self) -> list[VirtualDisk]: ...
    @property
    def change_tracking_enabled(self) -> bool: ...
    def disk(self, key: int) -> VirtualDisk:
        """Raises LabFault InvalidArgument(deviceKey)."""
    def snapshot(self, moref: str) -> SnapshotNode:
        """Raises LabFault ManagedObjectNotFound."""
    def all_snapshots(self) -> list[SnapshotNode]: ...
    def layout(self) -> list[LayoutFile]:
        """Every file of the machine as layoutEx lists them (no diskExtent where flats are not served)."""

    # --- power ------------------------------------------------------------------------------------
    def power_on(self) -> None: ...
    def power_off(self) -> None: ...
    def suspend(self) -> None: ...
    def lose_power(self) -> None:
        """The host dies under it: off, unclean; change tracking starts anew at the next power-on."""

    # --- snapshots --------------------------------------------------------------------------------
    def take_snapshot(
        self, name: str, description: str = "", *, memory: bool = False, quiesce: bool = False
    ) -> SnapshotNode: ...
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
        """``fail_consolidation``: the snapshot goes, its deltas stay, ``consolidation_needed`` is set."""
    def revert(self, moref: str | None = None) -> None: ...
    def consolidate(self, progress: Callable[[int], None] | None = None, *, bytes_per_second: int = 0) -> None: ...

    # --- change tracking --------------------------------------------------------------------------
    def set_change_tracking(self, enabled: bool) -> None:
        """Sets the flag; tracking begins at the next stun. InvalidSnapshotState while it has snapshots."""
    def reset_change_tracking(self, key: int | None = None) -> None:
        """As after an incident: the running disks (or one) get a fresh uuid; earlier ids are refused."""
    def lose_changes(self, key: int | None = None) -> None:
        """As after a bug of the platform: what was written since the last snapshot is silently forgotten."""
    def changed_areas(self, snapshot: str | None, key: int, start: int, change_id: str) -> ChangeInfo: ...

    # --- configuration ----------------------------------------------------------------------------
    def attach_disk(self, spec: DiskSpec) -> VirtualDisk: ...
    def detach_disk(self, key: int, *, delete_files: bool = False) -> None: ...
    def grow_disk(self, key: int, capacity_bytes: int) -> None: ...
    def edit(self, **fields: object) -> None:
        """Set fields of ``config`` by name (``cpus=4``, ``annotation="…"``, ``extra_config={…merged}``)."""
    def set_controllers(self, controllers: list[Controller]) -> None: ...
    def set_nics(self, nics: list[Nic]) -> None: ...
    def rename(self, name: str) -> None: ...
    def set_template(self, template: bool) -> None: ...
    def relocate(self, datastore: str = "", host: str = "", resource_pool: str = "") -> None:
        """vMotion (host only: change tracking survives) or storage migration (files move, tracking restarts)."""

    # --- the guest --------------------------------------------------------------------------------
    def guest_write(self, disk_index: int, offset: int, data: bytes | memoryview) -> None:
        """Works on a powered-off machine too (the lab's `write` command plays both)."""
    def guest_zero(self, disk_index: int, offset: int, length: int) -> None: ...
    def guest_read(self, disk_index: int, offset: int, length: int) -> bytes: ...
    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Holds off snapshots while a batch of guest writes goes on, so that one falls between batches."""
        yield

    # --- bytes ------------------------------------------------------------------------------------
    def frozen_reader(self, snapshot: str, key: int) -> FrozenView: ...
    def current_reader(self, key: int) -> FrozenView:
        """Of a machine that is not powered on (ExportVm); of a running one: as of each call."""
    def import_write(self, key: int, offset: int, data: bytes | memoryview) -> None:
        """Fills a disk from outside (NFC import); powered off only."""
    def materialise(self) -> None:
        """Make the files of a machine that is metadata only so far (preset large). Cheap when done."""
