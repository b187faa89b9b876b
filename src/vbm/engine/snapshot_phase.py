"""The phases snapshot and cleanup: our VMware snapshot from the ledger's first word of it to the last."""

from __future__ import annotations

from dataclasses import replace

from vbm.clock import rfc3339
from vbm.engine.checkpoint import RunFolder
from vbm.engine.ledger import LedgerEntry
from vbm.engine.process import ProcessIdentity
from vbm.engine.run_context import BackupOptions, RunContext
from vbm.engine.run_state import FrozenDisk, RunState
from vbm.engine.sweep import RESET_PREFIX, remove_claimed
from vbm.errors import VbmError
from vbm.ids import DiskKey
from vbm.vsphere import cbt, inventory, snapshots
from vbm.vsphere.model import VirtualMachine, VmSnapshot
from vbm.vsphere.session import Session


def take_snapshot(
    session: Session, vm: VirtualMachine, state: RunState, options: BackupOptions, context: RunContext
) -> RunState:
    """Write the snapshot into the ledger, then make it; change tracking is switched on before."""
    if state.resumed:
        return state
    context.progress.phase("snapshot")
    state = _ensure_tracking(session, vm, state, context)
    context.ledger.record(ledger_entry(state))
    made = _create(session, vm, state, options, context)
    if state.quiesce and not made.quiesced:
        context.progress.warn("the snapshot is crash-consistent: the guest was not brought to rest")
    state = replace(
        state,
        frozen=frozen_disks(made, state.included),
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
        return replace(state, cbt_enabled=vm.cbt_enabled)
    if not enabled:
        why = "the VM has snapshots" if vm.snapshot_names else "this VM does not support it"
        context.progress.note(f"change tracking is off ({why}): disks are read whole")
    return replace(state, cbt_enabled=enabled)


def ledger_entry(state: RunState) -> LedgerEntry:
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


def frozen_disks(snapshot: VmSnapshot, included: tuple[DiskKey, ...]) -> tuple[FrozenDisk, ...]:
    return tuple(FrozenDisk.of(disk) for disk in snapshot.disks if disk.key in included)


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
    entry = replace(ledger_entry(state), snapshot=f"{RESET_PREFIX}{state.run_id}")
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
