"""Upkeep of repositories: statistics, garbage collection, and which repository has the points to delete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from vbm.cancel import CancelToken
from vbm.errors import CancelledError, NotFoundError, VbmError
from vbm.ids import RestorePointId
from vbm.later import later
from vbm.objectstore.registry import open_store
from vbm.repository.gc import GcOptions
from vbm.repository.prune import PrunePlan, plan_prune
from vbm.repository.repository import Repository
from vbm.repository.stats import Stats, gather
from vbm.services import access
from vbm.services.access import Where
from vbm.services.workspace import Workspace

if TYPE_CHECKING:
    from vbm.catalog.repositories import RepositoryRecord
    from vbm.services import points as point_lists
else:
    point_lists = later("vbm.services.points")


def stats(workspace: Workspace, where: Where, cancel: CancelToken) -> tuple[str, Stats]:
    with access.one(workspace, where) as (label, repository):
        return label, gather(repository, cancel)


def gc_options(grace_hours: float) -> GcOptions:
    return GcOptions(grace=timedelta(hours=grace_hours))


@contextmanager
def deletion(
    workspace: Workspace, where: Where, points: list[str], cancel: CancelToken
) -> Iterator[tuple[Repository, PrunePlan]]:
    """The one repository that has all these restore points, readable or not, and what deleting them takes away."""
    wanted = [RestorePointId(point) for point in points]
    problem: VbmError = NotFoundError("no repository is known", hint="add --repository-url")
    for _, repository in access.each(workspace, where, lambda *_: None):
        try:
            plan = plan_prune(repository, wanted, cancel)
        except CancelledError:
            raise
        except NotFoundError as error:
            problem = error
            continue
        yield repository, plan
        return
    raise problem


def usage_document(workspace: Workspace, record: RepositoryRecord, found: Stats) -> dict[str, Any]:
    """What the repository holds, what each VM that who asks may see costs in it, and the space around it."""
    store = open_store(record.url)
    try:
        space = store.space()
    finally:
        store.close()
    visible = point_lists.visible_vms(workspace)
    return {
        "restore_points": found.restore_points,
        "logical_bytes": found.logical_bytes,
        "used_bytes": found.used_bytes,
        "stored_bytes": found.stored_bytes,
        "needed_bytes": found.needed_bytes,
        "free_bytes": space.free_bytes if space else None,
        "total_bytes": space.total_bytes if space else None,
        "vms": [
            {
                "vm_instance_uuid": usage.vm,
                "vm_name": usage.name,
                "restore_points": usage.restore_points,
                "logical_bytes": usage.logical_bytes,
                "unique_bytes": usage.unique_bytes,
                "needed_bytes": usage.needed_bytes,
            }
            for usage in found.vms
            if visible is None or usage.vm in visible
        ],
    }
