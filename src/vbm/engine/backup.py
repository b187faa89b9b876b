"""The backup of one VM: prepare → snapshot → read → commit → cleanup.

Each phase takes and answers a RunState, which is plain JSON, so that a durable workflow may call them one by one and
repeat each after a crash: ``prepare`` makes nothing; ``take_snapshot`` looks for its snapshot before it makes it;
``transfer`` (read and commit, in one writer session of the repository) goes on from the last checkpoint and finds a
manifest that was already written; ``cleanup`` removes what is there. ``backup_vm`` composes them in one process and
removes the snapshot on every way out of it; what ``kill -9`` leaves is in the ledger.
"""

from __future__ import annotations

from dataclasses import replace

from vbm.engine.prepare import prepare
from vbm.engine.result import BackupResult
from vbm.engine.run_context import BackupOptions, RunContext
from vbm.engine.run_state import RunState
from vbm.engine.snapshot_phase import cleanup, take_snapshot
from vbm.engine.telling import Recorder
from vbm.engine.transfer import Transferred, transfer
from vbm.engine.vm_lock import vm_lock
from vbm.repository.repository import Repository
from vbm.vsphere.model import VirtualMachine
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
