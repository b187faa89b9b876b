"""A worker in this process, until it is told to stop."""

from __future__ import annotations

from collections.abc import Sequence

from vbm.catalog.workers import WorkerRecord, all_workers
from vbm.services import repositories, vcenters
from vbm.services.doors import WorkspaceDoors
from vbm.services.workspace import Workspace
from vbm.workflows.admission import Reach
from vbm.workflows.worker import Worker, WorkerOptions

__all__ = ["Worker", "WorkerOptions", "reach", "worker", "workers"]


def reach(workspace: Workspace, vcenter_names: Sequence[str], repository_names: Sequence[str]) -> Reach:
    """What a worker serves, by name; nothing named means everything."""
    return Reach(
        frozenset(vcenters.get(workspace, name).id for name in vcenter_names),
        frozenset(repositories.get(workspace, name).id for name in repository_names),
    )


def worker(workspace: Workspace, options: WorkerOptions) -> Worker:
    """A worker, ready to ``run``. Raises MasterKeyError where it could open no vCenter's password."""
    vcenters.check_master_key(workspace)
    return Worker(WorkspaceDoors(workspace), workspace.settings, options)


def workers(workspace: Workspace) -> list[WorkerRecord]:
    """The living first."""
    with workspace.catalog.reading() as session:
        return all_workers(session)
