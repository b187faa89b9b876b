"""Which VMs a job would back up if it ran now."""

from __future__ import annotations

from vbm.cancel import CancelToken
from vbm.policy.selection import Selection
from vbm.services import jobs, vcenters
from vbm.services.workspace import Workspace
from vbm.workflows.resolve import Resolved, look_up

__all__ = ["Resolved", "preview", "preview_of"]


def preview(workspace: Workspace, job_name: str, cancel: CancelToken) -> Resolved:
    """Look it up in the job's vCenter, as a run does. Raises UnknownNameError, TagsUnavailableError."""
    record = jobs.get(workspace, job_name)
    return preview_of(workspace, record.vcenter_id, record.job.selection, cancel)


def preview_of(workspace: Workspace, vcenter: str, selection: Selection, cancel: CancelToken) -> Resolved:
    """The same for a selection that no job has yet."""
    with vcenters.connect(workspace, vcenter, cancel) as session:
        return look_up(session, selection)
