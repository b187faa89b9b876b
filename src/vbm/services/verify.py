"""Verify a whole repository, as the command line and the demo ask for it."""

from __future__ import annotations

from vbm.cancel import CancelToken
from vbm.progress import Progress
from vbm.repository.verify import Verified, execute_verify, plan_verify
from vbm.services import access
from vbm.services.access import Where
from vbm.services.workspace import Workspace


def everything(
    workspace: Workspace, where: Where, progress: Progress, cancel: CancelToken, *, read_data: bool = True
) -> Verified:
    """Verify every restore point of one repository. Damage is told and recorded, never raised."""
    with access.one(workspace, where) as (_, repository):
        plan = plan_verify(repository, read_data=read_data)
        return execute_verify(repository, plan, progress, cancel)
