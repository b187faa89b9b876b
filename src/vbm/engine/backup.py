"""The backup of one VM: prepare → snapshot → read → commit → cleanup.

Each phase takes and answers a RunState, which is plain JSON, so that a durable workflow may call them one by one and
repeat each after a crash: ``prepare`` makes nothing; ``take_snapshot`` looks for its snapshot before it makes it;
``transfer`` (read and commit, in one writer session of the repository) goes on from the last checkpoint and finds a
manifest that was already written; ``cleanup`` removes what is there. ``backup_vm`` composes them in one process and
removes the snapshot on every way out of it; what ``kill -9`` leaves is in the ledger.
"""

from __future__ import annotations

from dataclasses import replace

from vbm.clock import parse_rfc3339, rfc3339
from vbm.engine.checkpoint import RunFolder
from vbm.engine.errors import NothingToBackUpError
from vbm.engine.ledger import LedgerEntry
from vbm.engine.process import ProcessIdentity
from vbm.engine.result import BackupResult
from vbm.engine.run_context import BackupOptions, RunContext
from vbm.engine.run_state import ExcludedDisk, FrozenDisk, RunState
from vbm.engine.sweep import RESET_PREFIX, remove_claimed
from vbm.engine.telling import Recorder
from vbm.engine.transfer import Transferred, transfer
from vbm.engine.vm_lock import vm_lock
from vbm.errors import NotFoundError, VbmError
from vbm.ids import DiskKey, RestorePointId, RunId, new_id
from vbm.repository.repository import Repository
from vbm.vsphere import cbt, inventory, preflight, snapshots
from vbm.vsphere.model import DiskVerdict, VirtualMachine, VmSnapshot
from vbm.vsphere.session import Session


def backup_vm(
    session: Session, vm: VirtualMachine, repo: Repository, options: BackupOptions, context: RunContext
) -> BackupResult:
    """Make a restore point of the VM. Its snapshot is gone, or in the ledger and warned of, whatever happens.

    Raises NothingToBackUpError, VmInUseError, SnapshotLostError, CancelledError, and what vSphere, transports and
    repository raise. A snapshot that can't be removed after a good backup is a warning, not an error.
    """
    begun = context.clock.monotonic()
    told = Recorder(context.progress)
    context = replace(context, progress=told)
    with vm_lock(context.home, vm.instance_uuid, vm.name):
        state = prepare(session, vm, repo, options, context)
        try:
            state = take_snapshot(session, vm, state, options, context)
            done = transfer(session, repo, state, options, context)
        except BaseException:
            cleanup(session, state, context)
            raise
        state = cleanup(session, replace(done.state, committed=True), context)
    context.progress.phase("done")
    return _result(state, done, told, context.clock.monotonic() - begun)


# -- prepare


def prepare(
    session: Session, vm: VirtualMachine, repo: Repository, options: BackupOptions, context: RunContext
) -> RunState:
    """Judge VM and disks, remove our stale snapshots of this VM, or adopt the one of an interrupted run."""
    context.progress.phase("connecting")
    verdicts = preflight.check(vm)
    included = _included(vm, verdicts, options)
    for remark in preflight.remarks(vm):
        context.progress.note(remark)
    excluded = _excluded(verdicts, options)
    for disk in excluded:
        context.progress.note(f"{disk.label} is not backed up: {disk.reason}")
    _report_strangers(session, vm, context)
    context.cancel.check()
    state = _adopted(session, vm, repo, options, context, included)
    if state is None:
        state = _new_state(session, vm, repo, options, context)
    return replace(state, included=included, excluded=excluded)


def _included(vm: VirtualMachine, verdicts: list[DiskVerdict], options: BackupOptions) -> tuple[DiskKey, ...]:
    known = {verdict.disk.key for verdict in verdicts}
    unknown = options.exclude_disks - known
    if unknown:
        keys = ", ".join(str(key) for key in sorted(unknown))
        have = ", ".join(f"{v.disk.key} ({v.disk.label})" for v in verdicts)
        raise NothingToBackUpError(f"{vm.name} has no disk {keys}", hint=f"its disks are {have}")
    included = tuple(v.disk.key for v in verdicts if v.included and v.disk.key not in options.exclude_disks)
    if vm.skip_reason:
        raise NothingToBackUpError(f"{vm.name} can't be backed up: {vm.skip_reason}")
    if not included:
        reasons = (
            "; ".join(f"{v.disk.label}: {v.reason or 'excluded'}" for v in verdicts) or "it has no disks"
        )
        raise NothingToBackUpError(f"no disk of {vm.name} can be backed up: {reasons}")
    return included


def _excluded(verdicts: list[DiskVerdict], options: BackupOptions) -> tuple[ExcludedDisk, ...]:
    return tuple(
        ExcludedDisk(
            v.disk.key,
            v.disk.label,
            v.reason if not v.included else "excluded on request",
            v.disk.capacity_bytes,
        )
        for v in verdicts
        if not v.included or v.disk.key in options.exclude_disks
    )


def _new_state(
    session: Session, vm: VirtualMachine, repo: Repository, options: BackupOptions, context: RunContext
) -> RunState:
    now = context.clock.now()
    run_id = RunId(new_id(now))
    return RunState(
        run_id=run_id,
        restore_point=RestorePointId(new_id(now)),
        started=rfc3339(now),
        job_id=options.job_id,
        mode=options.mode,
        quiesce=options.quiesce,
        vcenter=session.endpoint.name,
        vcenter_uuid=session.about.get("instance_uuid", ""),
        vm=vm.moref,
        vm_uuid=vm.instance_uuid,
        vm_name=vm.name,
        repository=repo.id,
        snapshot=f"{snapshots.SNAPSHOT_PREFIX}{run_id}",
        included=(),
    )


def _adopted(
    session: Session,
    vm: VirtualMachine,
    repo: Repository,
    options: BackupOptions,
    context: RunContext,
    included: tuple[DiskKey, ...],
) -> RunState | None:
    """The state of an interrupted run that can be gone on with. All other leftovers of this VM are removed."""
    adopted: RunState | None = None
    entries = context.ledger.leftovers(session.endpoint.name, session.about.get("instance_uuid", ""))
    for entry in reversed([e for e in entries if e.vm_uuid == vm.instance_uuid]):
        claimed = context.ledger.claim(entry)
        if claimed is None:
            continue
        try:
            state = None
            if adopted is None:
                state = adopted = _resumable(session, repo, options, context, claimed, included)
            if state is None:
                remove_claimed(session, context, claimed)
        except BaseException:
            context.ledger.release(entry.snapshot)
            raise
    return adopted


def _resumable(
    session: Session,
    repo: Repository,
    options: BackupOptions,
    context: RunContext,
    entry: LedgerEntry,
    included: tuple[DiskKey, ...],
) -> RunState | None:
    data = RunFolder(context.home, entry.run_id).load_state()
    try:
        state = RunState.from_json(data or b"")
    except ValueError:
        return None
    same = (state.repository, state.mode, state.quiesce, state.included, state.job_id) == (
        repo.id,
        options.mode,
        options.quiesce,
        included,
        options.job_id,
    )
    if not same or not state.frozen or _exists(repo, state.restore_point):
        return None
    age = (context.clock.now() - parse_rfc3339(state.snapshot_created)).total_seconds()
    found = snapshots.find(session, entry.vm, state.snapshot)
    if found is None or age > options.resume_within_seconds or _frozen(found, state.included) != state.frozen:
        return None
    context.progress.note(f"going on with the interrupted run {state.run_id} on its snapshot")
    return replace(state, resumed=True)


def _exists(repo: Repository, restore_point: RestorePointId) -> bool:
    try:
        repo.manifest(restore_point)
    except NotFoundError:
        return False
    return True


def _report_strangers(session: Session, vm: VirtualMachine, context: RunContext) -> None:
    """Snapshots with our prefix that are not in this home's ledger belong to another installation: hands off."""
    known = {entry.snapshot for entry in context.ledger.entries()}
    resetting = any(name.startswith(RESET_PREFIX) for name in known)
    for found in snapshots.find_ours(session, vm.moref):
        if found.name not in known and not (resetting and found.name.startswith(RESET_PREFIX)):
            context.progress.warn(
                f"the snapshot {found.name} of {vm.name} is not in this installation's ledger; it is left alone"
            )


# -- snapshot


def take_snapshot(
    session: Session, vm: VirtualMachine, state: RunState, options: BackupOptions, context: RunContext
) -> RunState:
    """Write the snapshot into the ledger, then make it; change tracking is switched on before."""
    if state.resumed:
        return state
    context.progress.phase("snapshot")
    state = _ensure_tracking(session, vm, state, context)
    context.ledger.record(_entry(state))
    made = _create(session, vm, state, options, context)
    if state.quiesce and not made.quiesced:
        context.progress.warn("the snapshot is crash-consistent: the guest was not brought to rest")
    state = replace(
        state,
        frozen=_frozen(made, state.included),
        snapshot_created=rfc3339(made.created),
        consistency="application" if made.quiesced else "crash",
    )
    RunFolder(context.home, state.run_id).save_state(state.to_json())
    return state


def _ensure_tracking(session: Session, vm: VirtualMachine, state: RunState, context: RunContext) -> RunState:
    try:
        enabled = cbt.ensure_enabled(session, vm, context.cancel)
    except VbmError as error:
        context.cancel.check()
        context.progress.warn(f"change tracking can't be switched on: {error.message}")
        enabled = vm.cbt_enabled
    if not enabled:
        why = "the VM has snapshots" if vm.snapshot_names else "this VM does not support it"
        context.progress.note(f"change tracking is off ({why}): disks are read whole")
    return replace(state, cbt_enabled=enabled)


def _entry(state: RunState) -> LedgerEntry:
    return LedgerEntry(
        snapshot=state.snapshot,
        vcenter=state.vcenter,
        vcenter_uuid=state.vcenter_uuid,
        vm=state.vm,
        vm_uuid=state.vm_uuid,
        vm_name=state.vm_name,
        run_id=state.run_id,
        repository=state.repository,
        created=state.started,
        process=ProcessIdentity.own(),
    )


def _create(
    session: Session, vm: VirtualMachine, state: RunState, options: BackupOptions, context: RunContext
) -> VmSnapshot:
    description = f"made by vSphere Backup Manager, run {state.run_id}; removed when the backup ends"

    def create(*, quiesce: bool) -> VmSnapshot:
        return snapshots.create(
            session,
            vm,
            state.snapshot,
            description,
            quiesce=quiesce,
            cancel=context.cancel,
            policy=context.creations,
        )

    try:
        return create(quiesce=state.quiesce)
    except snapshots.QuiesceFailedError as error:
        if not options.quiesce_fallback:
            raise
        context.progress.warn(f"{error.message}; the backup goes on crash-consistent")
        return create(quiesce=False)


def _frozen(snapshot: VmSnapshot, included: tuple[DiskKey, ...]) -> tuple[FrozenDisk, ...]:
    return tuple(FrozenDisk.of(disk) for disk in snapshot.disks if disk.key in included)


# -- cleanup


def cleanup(session: Session, state: RunState, context: RunContext) -> RunState:
    """Remove the snapshot, however long that takes, and reset change tracking where that was found wanting.

    Raises nothing of vSphere: what can't be removed stays in the ledger, as a warning.
    """
    if context.ledger.find(state.snapshot) is None:
        return replace(state, snapshot_removed=True)
    context.progress.phase("cleanup")
    try:
        result = snapshots.remove(session, state.vm, state.snapshot, policy=context.removals)
    except VbmError as error:
        context.ledger.release(state.snapshot)
        context.progress.warn(f"{error.message} ({error.hint})" if error.hint else error.message)
        return state
    context.ledger.forget(state.snapshot)
    RunFolder(context.home, state.run_id).remove()
    state = replace(state, snapshot_removed=True)
    if result.vm_gone:
        context.progress.warn(f"{state.vm_name} is no longer in the inventory")
    elif state.reset_cbt:
        _reset_tracking(session, state, context)
    return state


def _reset_tracking(session: Session, state: RunState, context: RunContext) -> None:
    """The reset makes and removes a snapshot too, for the stun: the ledger knows of it before."""
    entry = replace(_entry(state), snapshot=f"{RESET_PREFIX}{state.run_id}")
    context.ledger.record(entry)
    try:
        cbt.reset(session, inventory.get_vm(session, state.vm), context.cancel)
    except VbmError as error:
        context.progress.warn(f"change tracking could not be reset: {error.message}")
        remove_claimed(session, context, entry)
        return
    except BaseException:
        context.ledger.release(entry.snapshot)
        raise
    context.ledger.forget(entry.snapshot)
    context.progress.note("change tracking was reset: the next backup reads whole disks")


# -- result


def _result(state: RunState, done: Transferred, told: Recorder, duration_seconds: float) -> BackupResult:
    return BackupResult(
        run_id=state.run_id,
        restore_point=state.restore_point,
        read_mode=done.read_mode,
        transport=done.transport,
        duration_seconds=duration_seconds,
        snapshot_removed=state.snapshot_removed,
        vm_name=state.vm_name,
        consistency=state.consistency,
        resumed=state.resumed,
        disks=done.disks,
        notes=told.notes,
        warnings=told.warnings,
    )
