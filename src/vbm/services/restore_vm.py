"""Restore of a whole virtual machine to a vCenter or ESXi host."""

from __future__ import annotations

from vbm.cancel import CancelToken
from vbm.engine.restore_ledger import RestoreLedger
from vbm.engine.restore_vm import RestoredVm
from vbm.engine.restore_vm import restore_vm as restore
from vbm.progress import Progress
from vbm.services import vcenters
from vbm.services.leftovers import remove_leftovers
from vbm.services.restore_points import Found
from vbm.services.workspace import Workspace
from vbm.vsphere.restore_spec import RestoreSpec


def restore_vm(
    workspace: Workspace,
    found: Found,
    vcenter: str | None,
    spec: RestoreSpec,
    progress: Progress,
    cancel: CancelToken,
) -> RestoredVm:
    """Make the VM from the restore point. What a failure leaves half made is removed again by the engine."""
    spec.check()
    with vcenters.connect(workspace, vcenter, cancel) as session:
        remove_leftovers(workspace, session, progress, cancel)
        return restore(
            session,
            found.repository,
            found.manifest.restore_point_id,
            spec,
            progress=progress,
            cancel=cancel,
            clock=workspace.clock,
            traces=RestoreLedger(workspace.settings.home),
        )
