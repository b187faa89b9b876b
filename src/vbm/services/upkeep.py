"""Upkeep of repositories: statistics, garbage collection, and which repository has the points to delete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from vbm.cancel import CancelToken
from vbm.errors import CancelledError, NotFoundError, VbmError
from vbm.ids import RestorePointId
from vbm.repository.gc import GcOptions
from vbm.repository.prune import PrunePlan, plan_prune
from vbm.repository.repository import Repository
from vbm.repository.stats import Stats, gather
from vbm.services import access
from vbm.services.access import Where
from vbm.services.workspace import Workspace


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
