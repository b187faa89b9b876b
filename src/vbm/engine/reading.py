"""The phase read: every included disk of a snapshot, by which transport, on what base, and whether it held still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vbm.clock import parse_rfc3339
from vbm.disk.extents import Extent
from vbm.disk.reader import DiskReader
from vbm.engine.checkpoint import Checkpoint, RunFolder
from vbm.engine.decision import Decision, decide
from vbm.engine.disk_copy import DiskOutcome, DiskSource, Previous, Tools, copy_disk
from vbm.engine.errors import SnapshotLostError
from vbm.engine.rate_limit import RateLimit
from vbm.engine.result import DiskReport
from vbm.engine.run_context import BackupOptions, RunContext
from vbm.engine.run_state import FrozenDisk, RunState
from vbm.errors import DamagedError, NotFoundError
from vbm.ids import DiskKey
from vbm.repository.disk_map import DiskMap
from vbm.repository.manifest import DiskEntry, Manifest
from vbm.repository.repository import Repository
from vbm.repository.writer import Writer
from vbm.vsphere import cbt, config_capture, history, inventory, snapshots
from vbm.vsphere.model import VirtualDisk, VmSnapshot
from vbm.vsphere.session import Session
from vbm.vsphere.transports.base import Transport, TransportUnsuitableError
from vbm.vsphere.transports.choose import open_transport


@dataclass(frozen=True, slots=True)
class ReadDisk:
    """One disk that was read, waiting for the commit."""

    disk: VirtualDisk
    outcome: DiskOutcome
    reset_cbt: bool

    @property
    def entry(self) -> DiskEntry:
        # A change id that can't be trusted must never become the base of an incremental.
        usable = not (self.outcome.distrusted or self.reset_cbt)
        return DiskEntry(
            disk_key=self.disk.key,
            disk_uuid=self.disk.uuid,
            capacity_bytes=self.disk.capacity_bytes,
            change_id=self.disk.change_id if usable else None,
            path=f"disk-{self.disk.key}.map",
            label=self.disk.label,
            read_mode=self.outcome.mode,
        )

    @property
    def report(self) -> DiskReport:
        return DiskReport.of(self.disk.key, self.disk.label, self.disk.capacity_bytes, self.outcome)


def verify_unchanged(session: Session, state: RunState) -> VmSnapshot:
    """The snapshot, still there with the same frozen files under it, and the VM not running on those.

    A VM that is off may keep the very files (a simulator's snapshots freeze nothing): nobody writes to them.

    Raises SnapshotLostError: what was read then may be a mixture of times and must be discarded.
    """
    try:
        found = snapshots.find(session, state.vm, state.snapshot)
        vm = inventory.get_vm(session, state.vm)
    except NotFoundError as error:
        raise SnapshotLostError(f"{state.vm_name} was deleted while it was backed up") from error
    if found is None:
        raise SnapshotLostError(
            f"the snapshot {state.snapshot} of {state.vm_name} was removed while its disks were read",
            hint="find out who removes snapshots of this VM; then back it up again",
        )
    now = {disk.key: FrozenDisk.of(disk) for disk in found.disks}
    heads = {disk.key: disk.file_name for disk in vm.disks} if vm.power_state != "poweredOff" else {}
    for disk in state.frozen:
        if now.get(disk.key) != disk or heads.get(disk.key) == disk.file_name:
            raise SnapshotLostError(
                f"disk {disk.key} of {state.vm_name} was moved or changed while it was read",
                hint="was the VM migrated to other storage, or a snapshot removed? Back it up again",
            )
    return found


def _reverted(session: Session, state: RunState, parent: Manifest) -> bool:
    """Whether the server tells of a revert after the parent's snapshot; by its own clock, noted at that time."""
    try:
        since = parse_rfc3339(parent.config["snapshot"]["created"])
    except (KeyError, TypeError, ValueError):
        return False
    return bool(history.reverted_since(session, state.vm, since))


@dataclass(slots=True)
class _Opened:
    """The transports of one run: the chosen one, and the one that reads what the first can't."""

    names: list[str] = field(default_factory=list)
    transports: list[Transport] = field(default_factory=list)


class Reading:
    """The reading of one VM's disks: from where, on what base, by what transport."""

    def __init__(
        self,
        session: Session,
        repo: Repository,
        writer: Writer,
        state: RunState,
        options: BackupOptions,
        context: RunContext,
    ) -> None:
        self._session, self._repo, self._state = session, repo, state
        self._options, self._context = options, context
        self._vm = inventory.get_vm(session, state.vm)
        self._snapshot = verify_unchanged(session, state)
        self.parent = self._find_parent()
        self._against = self._why_full()
        self.captured = config_capture.capture(session, self._vm, self._snapshot)
        self.notes: tuple[str, ...] = ()
        self._opened = _Opened()
        folder = RunFolder(context.home, state.run_id)
        chunk_bytes = repo.config.chunk_size_bytes
        self._tools = Tools(
            writer=writer,
            read_chunk=repo.read_chunk,
            chunk_bytes=chunk_bytes,
            limit=RateLimit(options.bytes_per_second, context.clock),
            progress=context.progress,
            cancel=context.cancel,
            workers=options.workers,
            journal=Checkpoint(
                folder,
                writer,
                context.clock,
                chunk_bytes=chunk_bytes,
                every_seconds=options.checkpoint_seconds,
                every_bytes=options.checkpoint_bytes,
            ),
            resume=folder if state.resumed else None,
        )

    @property
    def transport_name(self) -> str:
        return "+".join(dict.fromkeys(self._opened.names))

    def close(self) -> None:
        """Ends leases and connections: before the snapshot is removed."""
        while self._opened.transports:
            self._opened.transports.pop().close()

    def all_disks(self) -> list[ReadDisk]:
        disks = [disk for disk in self._snapshot.disks if disk.key in self._state.included]
        return [self._one(disk, disks) for disk in disks]

    def _one(self, disk: VirtualDisk, disks: Sequence[VirtualDisk]) -> ReadDisk:
        self._context.cancel.check()
        transport, reader = self._open(disk, disks)
        try:
            source = DiskSource(
                disk.key,
                disk.label,
                reader,
                transport.capabilities.range_bytes,
                transport.capabilities.parallel_reads,
            )
            decision, previous = self._basis(disk, reader)
            self._note(f"{disk.label}: {decision.mode}: {decision.reason}")
            allocated = None
            if previous is None and reader.random_read:
                allocated = cbt.allocated_areas(self._session, self._state.vm, self._snapshot.moref, disk)
            outcome = copy_disk(source, self._tools, previous, reason=decision.reason, allocated=allocated)
        finally:
            reader.close()
        return ReadDisk(disk, outcome, decision.reset_cbt)

    # -- transport

    def _open(self, disk: VirtualDisk, disks: Sequence[VirtualDisk]) -> tuple[Transport, DiskReader]:
        if not self._opened.transports:
            self._choose([d.key for d in disks], self._options.transport)
        error: TransportUnsuitableError | None = None
        for transport in list(self._opened.transports):
            try:
                return transport, transport.open(disk.key, self._context.cancel)
            except TransportUnsuitableError as unsuitable:
                error = unsuitable
        if error is None or self._options.transport is not None or len(self._opened.transports) > 1:
            raise error or TransportUnsuitableError(f"no transport can read {disk.label}")
        self._note(f"{disk.label}: {error.message}; it is read through nfc")
        transport = self._choose([disk.key], "nfc")
        return transport, transport.open(disk.key, self._context.cancel)

    def _choose(self, keys: Sequence[DiskKey], prefer: str | None) -> Transport:
        transport, reason = open_transport(self._session, self._vm, self._snapshot, keys, prefer=prefer)
        self._opened.transports.append(transport)
        self._opened.names.append(transport.capabilities.name)
        self._note(f"read through {reason}")
        return transport

    # -- basis

    def _find_parent(self) -> Manifest | None:
        """The newest readable restore point of this VM that is older than the snapshot."""
        before = parse_rfc3339(self._state.started)
        older = (m for m in self._repo.restore_points(self._state.vm_uuid) if m.started <= before)
        return max(older, key=lambda m: m.started, default=None)

    def _why_full(self) -> str:
        """What speaks against an incremental of any disk; "" where nothing does."""
        if self._state.mode == "full":
            return "a full read was asked for"
        if self.parent is None:
            return "the first restore point of this VM in this repository"
        if _reverted(self._session, self._state, self.parent):
            return "the VM was reverted to a snapshot since the previous restore point"
        return ""

    def _basis(self, disk: VirtualDisk, reader: DiskReader) -> tuple[Decision, Previous | None]:
        entry = next((e for e in self.parent.disks if e.disk_key == disk.key), None) if self.parent else None
        decision = decide(disk, entry, random_read=reader.random_read, why_full=self._against)
        if self.parent is None or decision.change_id is None:
            return decision, None
        try:
            disk_map = self._repo.open_map(self.parent, disk.key)
        except (DamagedError, NotFoundError) as error:
            self._context.progress.warn(f"{disk.label}: {error.message}; the whole disk is read")
            return Decision("full", f"the previous restore point can't be used: {error.message}"), None
        try:
            areas = cbt.changed_areas(
                self._session, self._state.vm, self._snapshot.moref, disk, decision.change_id
            )
        except cbt.CbtUnusableError as error:
            self._context.progress.warn(f"{error.message}; the whole disk is read")
            return Decision("full", f"changed areas can't be used: {error.reason}"), None
        return decision, self._previous(disk, disk_map, areas)

    def _previous(self, disk: VirtualDisk, disk_map: DiskMap, areas: list[Extent]) -> Previous:
        seed = f"{self._state.run_id}/{disk.key}"
        return Previous(disk_map, tuple(areas), self._options.audit_chunks, seed)

    def _note(self, message: str) -> None:
        self.notes = (*self.notes, message)
        self._context.progress.note(message)
