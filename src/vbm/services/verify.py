"""Verify here and now, as the command line and the demo ask for it, and remember what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vbm.cancel import CancelToken
from vbm.errors import VbmError
from vbm.later import later
from vbm.progress import Progress
from vbm.repository.repository import Repository
from vbm.repository.verdicts import Mode, remember
from vbm.repository.verify import Verified, execute_verify, plan_verify
from vbm.services import access
from vbm.services.access import Where
from vbm.services.restore_points import Found
from vbm.services.workspace import Workspace

if TYPE_CHECKING:
    from vbm.catalog import restore_points as known_points
    from vbm.services import repositories
else:
    known_points = later("vbm.catalog.restore_points")
    repositories = later("vbm.services.repositories")


def everything(
    workspace: Workspace, where: Where, progress: Progress, cancel: CancelToken, *, read_data: bool = True
) -> Verified:
    """Verify every restore point of one repository. Damage is told and recorded, never raised."""
    with access.one(workspace, where) as (label, repository):
        plan = plan_verify(repository, read_data=read_data)
        found = execute_verify(repository, plan, progress, cancel)
        _remember(workspace, "" if where.url else label, repository, found, progress)
    return found


def point(
    workspace: Workspace,
    where: Where,
    given: Found,
    progress: Progress,
    cancel: CancelToken,
    *,
    read_data: bool = True,
) -> Verified:
    """Verify one restore point. Damage is told and recorded, never raised."""
    plan = plan_verify(given.repository, [given.manifest.restore_point_id], read_data=read_data)
    found = execute_verify(given.repository, plan, progress, cancel)
    _remember(workspace, "" if where.url else given.label, given.repository, found, progress)
    return found


def _remember(
    workspace: Workspace, name: str, repository: Repository, found: Verified, progress: Progress
) -> None:
    """Where the store takes nothing, what was found is no less true. ``name`` empty: there is no catalog."""
    mode: Mode = "full" if found.read_data else "quick"
    try:
        verdicts = remember(repository.store, found.by_point(), mode, workspace.clock.now())
    except VbmError as error:
        progress.note(f"the repository does not remember this verification: {error.message}")
        return
    if not name:
        return
    record = repositories.get(workspace, name)
    with workspace.catalog.writing() as session:
        for point_id, verdict in verdicts.items():
            values = {
                "verified": verdict.time,
                "verified_mode": verdict.mode,
                "verified_good": verdict.good,
            }
            known_points.mark_point(session, record.id, point_id, values)
