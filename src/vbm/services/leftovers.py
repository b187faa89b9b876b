"""Before work on a vCenter: snapshots and half-made VMs that killed runs of this home have left are removed."""

from __future__ import annotations

from vbm.cancel import CancelToken
from vbm.engine.restore_ledger import RestoreLedger
from vbm.engine.run_context import RunContext
from vbm.engine.sweep import Swept, sweep
from vbm.engine.sweep_restores import sweep_restores
from vbm.ids import VmUuid
from vbm.progress import Progress
from vbm.services.workspace import Workspace
from vbm.vsphere.session import Session


def remove_leftovers(
    workspace: Workspace,
    session: Session,
    progress: Progress,
    cancel: CancelToken,
    *,
    keep_vm: VmUuid | None = None,
) -> list[Swept]:
    """What snapshots were found and what became of it. Raises nothing of vSphere: what stays is told as a warning.

    ``keep_vm``: a backup of that VM follows, which may go on where the killed one was.
    """
    sweep_restores(session, RestoreLedger(workspace.settings.home), progress)
    return sweep(session, run_context(workspace, progress, cancel), keep_vm=keep_vm)


def run_context(workspace: Workspace, progress: Progress, cancel: CancelToken) -> RunContext:
    """What the engine works with in this home."""
    return RunContext.of(workspace.settings.home, clock=workspace.clock, cancel=cancel, progress=progress)
