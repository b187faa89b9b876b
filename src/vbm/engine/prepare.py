"""The phase prepare: judge the VM and its disks, clear away what earlier runs left, or go on with one of them."""

from __future__ import annotations

from dataclasses import replace

from vbm.clock import parse_rfc3339, rfc3339
from vbm.engine.checkpoint import RunFolder
from vbm.engine.errors import NothingToBackUpError
from vbm.engine.ledger import LedgerEntry
from vbm.engine.run_context import BackupOptions, RunContext
from vbm.engine.run_state import ExcludedDisk, RunState
from vbm.engine.snapshot_phase import frozen_disks
from vbm.engine.sweep import RESET_PREFIX, remove_claimed
from vbm.errors import NotFoundError
from vbm.ids import DiskKey, RestorePointId, RunId, new_id
from vbm.repository.repository import Repository
from vbm.vsphere import preflight, snapshots
from vbm.vsphere.model import DiskVerdict, VirtualMachine
from vbm.vsphere.session import Session


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
    if (
        found is None
        or age > options.resume_within_seconds
        or frozen_disks(found, state.included) != state.frozen
    ):
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
