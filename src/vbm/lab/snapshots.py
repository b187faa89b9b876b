"""Taking, removing and reverting to snapshots, and merging the deltas that are left over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from vbm.lab import disk_chain, machine_files, tracking
from vbm.lab.codec import copy_config
from vbm.lab.layer_files import PARENT, Piece
from vbm.lab.model import (
    MAX_SNAPSHOT_LEVELS,
    OFF,
    ON,
    SE_SPARSE,
    VMFS_SPARSE,
    LabFault,
    Layer,
    SnapshotNode,
    VirtualDisk,
    join_path,
    split_path,
)
from vbm.units import MIB, TIB

if TYPE_CHECKING:
    from vbm.lab.machine import Machine

_DELTA_SUFFIX: Final = {VMFS_SPARSE: "-delta.vmdk", SE_SPARSE: "-sesparse.vmdk"}
_DELTA_SPACE_BYTES: Final = MIB  # what an empty delta takes of its datastore


def take(machine: Machine, name: str, description: str, *, memory: bool, quiesce: bool) -> SnapshotNode:
    """The running disks become frozen; writes go to new deltas. Nothing has changed where it raises."""
    _refuse(machine, name, memory=memory, quiesce=quiesce)
    with machine.stun:
        if quiesce and _has_tools(machine) and machine.quiesce_fault:
            raise LabFault(machine.quiesce_fault, f"the guest of {machine.name} could not be quiesced")
        with machine.io:
            machine.materialise()
            tracking.stunned(machine)
            deltas = _new_deltas(machine)
            node = _frozen(
                machine, name, description, memory=memory, quiesced=quiesce and _has_tools(machine)
            )
            for disk, delta in deltas:
                _continue_in(machine, disk, delta)
            _insert(machine, node)
            machine.changed()
            machine_files.write_snapshot_files(machine, node)
    return node


def _refuse(machine: Machine, name: str, *, memory: bool, quiesce: bool) -> None:
    if not name or len(name) > 80:
        raise LabFault("InvalidName", f"not a name for a snapshot: {name!r}", properties={"name": name})
    if machine.template:
        raise LabFault("NotSupported", f"{machine.name} is a template")
    if memory and any(disk.independent for disk in machine.disks) and machine.power_state == ON:
        raise LabFault("MemorySnapshotOnIndependentDisk", f"{machine.name} has independent disks")
    if memory and quiesce:
        raise LabFault("InvalidArgument", "memory and quiesce exclude each other")
    if machine.connection_state != "connected":
        raise LabFault("InvalidState", f"{machine.name} is {machine.connection_state}")
    _refuse_devices(machine)
    if len(_line(machine)) >= MAX_SNAPSHOT_LEVELS:
        raise LabFault(
            "TooManySnapshotLevels", f"{machine.name} has {MAX_SNAPSHOT_LEVELS} levels of snapshots"
        )


def _refuse_devices(machine: Machine) -> None:
    shared = {each.key for each in machine.config.controllers if each.shared_bus != "noSharing"}
    reasons = [
        (disk.label, "its controller shares its bus")
        for disk in machine.disks
        if disk.controller_key in shared
    ]
    for disk in machine.disks:
        if disk.rdm == "physicalMode" and not disk.independent:
            reasons.append((disk.label, "it is a raw device mapping in physical mode"))
        if disk.sharing == "sharingMultiWriter" and not disk.independent:
            reasons.append((disk.label, "several machines may write it"))
    if machine.config.fault_tolerant:
        reasons.append((machine.name, "fault tolerance is on"))
    if reasons:
        label, why = reasons[0]
        message = f"{machine.name}: {label} is incompatible with snapshots: {why}"
        raise LabFault("SnapshotIncompatibleDeviceInVm", message)


def _has_tools(machine: Machine) -> bool:
    return machine.power_state == ON and machine.tools_running


def _line(machine: Machine) -> list[SnapshotNode]:
    """From a root to the current snapshot."""

    def search(nodes: list[SnapshotNode], above: list[SnapshotNode]) -> list[SnapshotNode]:
        for node in nodes:
            if node is machine.current_snapshot:
                return [*above, node]
            if found := search(node.children, [*above, node]):
                return found
        return []

    return search(machine.snapshots, [])


def _new_deltas(machine: Machine) -> list[tuple[VirtualDisk, Layer]]:
    made: list[tuple[VirtualDisk, Layer]] = []
    try:
        for disk in machine.disks:
            if disk.in_snapshots:
                head, above = disk.layers[-1], disk.layers[-2] if len(disk.layers) > 1 else None
                machine.lab.datastore(head.datastore).take_space(_DELTA_SPACE_BYTES)
                machine.store.seal(head, above, disk)
                delta = _delta(machine, disk)
                made.append((disk, delta))
                machine.store.create_delta(delta, head, disk)
    except BaseException:
        for _, delta in made:
            machine.store.delete(delta)
        raise
    return made


def _delta(machine: Machine, disk: VirtualDisk) -> Layer:
    head = disk.layers[-1]
    wanted = disk.delta_format or (SE_SPARSE if disk.capacity_bytes > 2 * TIB - 512 else VMFS_SPARSE)
    extent = _DELTA_SUFFIX[wanted]
    datastore, relative = split_path(head.file_name)
    stem = next_delta_stem(machine, datastore, relative)
    path = f"{stem}.vmdk"
    name = stem.rpartition("/")[2] + extent
    if "://" in head.extent_name:
        name = f"{head.extent_name.partition('://')[0]}://{machine.lab.new_id():08x}-delta"
    return Layer(
        id=f"layer-{machine.lab.new_id()}",
        datastore=datastore,
        file_name=join_path(datastore, path),
        extent_name=name,
        format=wanted,
        capacity_bytes=disk.capacity_bytes,
        cid=head.cid,
        parent_cid=head.cid,
        thin=True,
        key_id=head.key_id,
    )


def next_delta_stem(machine: Machine, datastore: str, relative: str) -> str:
    """``dir/x-000003`` for the first number that no file of the folder bears."""
    stem = relative.removesuffix(".vmdk")
    if len(stem) > 7 and stem[-7] == "-" and stem[-6:].isdigit():
        stem = stem[:-7]
    number = 1
    while machine.lab.resolve(join_path(datastore, f"{stem}-{number:06d}.vmdk")).exists():
        number += 1
    return f"{stem}-{number:06d}"


def _frozen(machine: Machine, name: str, description: str, *, memory: bool, quiesced: bool) -> SnapshotNode:
    number, machine.next_snapshot_id = machine.next_snapshot_id, machine.next_snapshot_id + 1
    return SnapshotNode(
        moref=f"snapshot-{machine.lab.new_id()}",
        id=number,
        name=name,
        description=description,
        created=machine.lab.clock.now(),
        quiesced=quiesced,
        power_state=machine.power_state if memory or machine.power_state != ON else OFF,
        config=copy_config(machine.config),
        memory=memory,
    )


def _continue_in(machine: Machine, disk: VirtualDisk, delta: Layer) -> None:
    if disk.change_id is not None:
        delta.change_id = tracking.next_epoch(machine, disk)
        machine.store.write_descriptor(delta, disk.layers[-1], disk)
        machine.store.track(delta, on=True)
    machine.layers[delta.id] = delta
    disk.layers = [*disk.layers, delta]


def _insert(machine: Machine, node: SnapshotNode) -> None:
    if machine.current_snapshot is None:
        machine.snapshots = [*machine.snapshots, node]
    else:
        machine.current_snapshot.children = [*machine.current_snapshot.children, node]
    machine.current_snapshot = node


def forget(machine: Machine, moref: str, *, remove_children: bool) -> str:
    """Take the node out of the tree; its deltas stay until ``consolidate``. Its name."""
    with machine.stun, machine.io:
        node = machine.snapshot(moref)
        parent = next((each for each in machine.all_snapshots() if node in each.children), None)
        heirs = [] if remove_children else node.children
        if parent is None:
            at = machine.snapshots.index(node)
            machine.snapshots = [*machine.snapshots[:at], *heirs, *machine.snapshots[at + 1 :]]
        else:
            at = parent.children.index(node)
            parent.children = [*parent.children[:at], *heirs, *parent.children[at + 1 :]]
        if machine.current_snapshot is not None and machine.current_snapshot not in machine.all_snapshots():
            machine.current_snapshot = parent
        tracking.stunned(machine)
        machine.changed()
        machine_files.remove_snapshot_files(machine, node.walk() if remove_children else [node])
        machine_files.write_vmsd(machine)
    return node.name


def revert(machine: Machine, moref: str | None) -> None:
    with machine.stun, machine.io:
        node = machine.current_snapshot if moref is None else machine.snapshot(moref)
        if node is None:
            raise LabFault("NotFound", f"{machine.name} has no current snapshot")
        running = {disk.key: disk for disk in machine.disks}
        config = copy_config(node.config)
        config.name = machine.config.name
        config.disks = [disk if disk.in_snapshots else running.get(disk.key, disk) for disk in config.disks]
        before = machine.config
        machine.config = config
        try:
            deltas = _new_deltas(machine)
        except BaseException:
            machine.config = before
            raise
        for disk, delta in deltas:
            tracked, delta.change_id = disk.change_id is not None, None
            machine.layers[delta.id] = delta
            disk.layers = [*disk.layers, delta]
            _restart_tracking(machine, disk, tracked=tracked)
        machine.current_snapshot = node
        machine.power_state = ON if node.memory and node.power_state == ON else OFF
        tracking.stunned(machine)
        machine.changed()
        _delete_unused(machine)
        machine_files.write_vmx(machine)
        machine_files.write_vmsd(machine)


def _restart_tracking(machine: Machine, disk: VirtualDisk, *, tracked: bool) -> None:
    if not tracked:
        return
    disk.layers[-1].change_id = disk.layers[-2].change_id
    tracking.restart(machine, disk.key)


# --- consolidation ------------------------------------------------------------------------------------


def _chains(machine: Machine) -> list[VirtualDisk]:
    """Every view of every disk: the running ones first."""
    return [*machine.disks, *(disk for node in machine.all_snapshots() for disk in node.config.disks)]


def _next_merge(machine: Machine) -> tuple[Layer, Layer] | None:
    """A parent that nothing but one child needs, the lowest first."""
    views = _chains(machine)
    heads = {view.layers[-1].id for view in views}
    children: dict[str, dict[str, Layer]] = {}
    for view in views:
        for parent, child in zip(view.layers, view.layers[1:], strict=False):
            children.setdefault(parent.id, {})[child.id] = child
    for view in views:
        for parent in view.layers[:-1]:
            if parent.id not in heads and len(children[parent.id]) == 1:
                return parent, next(iter(children[parent.id].values()))
    return None


def needs_consolidation(machine: Machine) -> bool:
    """Whether deltas are left over that no snapshot needs."""
    return _next_merge(machine) is not None


def consolidate(machine: Machine, progress: Callable[[int], None] | None, bytes_per_second: int) -> None:
    """Merge what is left over, one layer at a time. The guest goes on; a killed lab begins again there."""
    pace = _Pace(machine, progress or (lambda _: None), bytes_per_second)
    _delete_unused(machine)
    try:
        while (found := _next_merge(machine)) is not None:
            parent, child = found
            _merge(machine, parent, child, pace)
    except BaseException:
        machine.consolidation_needed = True
        raise
    machine.consolidation_needed = False
    with machine.stun, machine.io:
        tracking.stunned(machine)
        machine_files.write_vmx(machine)
    (progress or (lambda _: None))(100)


class _Pace:
    """Percent done of what was present at the start, and a limit of speed."""

    def __init__(self, machine: Machine, progress: Callable[[int], None], bytes_per_second: int) -> None:
        self._machine = machine
        self._progress = progress
        self._rate = bytes_per_second
        self._done = 0
        self.total = 1

    def plan(self, size_bytes: int) -> None:
        self.total += size_bytes

    def __call__(self, size_bytes: int) -> None:
        self._done += size_bytes
        self._progress(min(99, self._done * 100 // self.total))
        if self._rate:
            self._machine.lab.clock.sleep(size_bytes / self._rate)


def _merge(machine: Machine, parent: Layer, child: Layer, pace: _Pace) -> None:
    view = next(each for each in _chains(machine) if child in each.layers)
    below = view.layers[: view.layers.index(parent) + 1]
    target = machine.store.files(below)
    source = machine.store.file(child)
    running = next((disk for disk in machine.disks if disk.layers[-1] is child), None)
    if running is not None:
        with machine.io:
            machine.dirty[running.key] = []
    try:
        pieces = list(source.present())
        pace.plan(sum(length for _, length, _ in pieces))
        disk_chain.merge(source, target, pieces, pace)
        with machine.io:
            late = machine.dirty.pop(running.key) if running is not None else []
            for offset, length in late:
                disk_chain.merge(source, target, _late(source.grain_bytes, child, offset, length, machine))
            _replace(machine, parent, child)
    finally:
        if running is not None:
            machine.dirty.pop(running.key, None)


def _late(grain: int, child: Layer, offset: int, length: int, machine: Machine) -> list[Piece]:
    """What the guest wrote into the child while it was being merged."""
    start, end = offset // grain * grain, min(-(-(offset + length) // grain) * grain, child.capacity_bytes)
    found = machine.store.file(child).locate(start, end - start)
    return [piece for piece in found if piece[2] != PARENT]


def _replace(machine: Machine, parent: Layer, child: Layer) -> None:
    """The parent has all that the child has: every chain goes past the child now."""
    parent.cid, parent.change_id, parent.written = child.cid, child.change_id, child.written
    grandchildren: dict[str, tuple[Layer, VirtualDisk]] = {}
    shown = next(view for view in _chains(machine) if child in view.layers)
    for view in _chains(machine):
        if child in view.layers:
            at = view.layers.index(child)
            if at + 1 < len(view.layers):
                grandchildren[view.layers[at + 1].id] = (view.layers[at + 1], view)
            view.layers = [layer for layer in view.layers if layer is not child]
    machine.layers.pop(child.id, None)
    at = shown.layers.index(parent)
    machine.store.write_descriptor(parent, shown.layers[at - 1] if at else None, shown)
    for layer, view in grandchildren.values():
        machine.store.write_descriptor(layer, parent, view)
    machine.store.track(parent, on=parent.change_id is not None)
    machine.changed()
    machine.store.delete(child)


def _delete_unused(machine: Machine) -> None:
    """Layers of branches that no view goes through any more."""
    with machine.io:
        used = {layer.id for view in _chains(machine) for layer in view.layers}
        unused = [layer for layer in machine.layers.values() if layer.id not in used]
        for layer in unused:
            machine.layers.pop(layer.id)
        if unused:
            machine.changed()
        for layer in unused:
            machine.store.delete(layer)
