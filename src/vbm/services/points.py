"""Restore points as the catalog lists them, for pages and the API; what changes one goes to its repository."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from vbm.cancel import CancelToken
from vbm.catalog.errors import UnknownNameError
from vbm.catalog.restore_points import (
    PointFilter,
    PointRecord,
    PointSummary,
    count_points,
    drop_points,
    list_points,
    mark_point,
    point_owners,
    point_summaries,
    points_of,
)
from vbm.ids import RestorePointId
from vbm.policy.scope import Scope
from vbm.repository.manifest import Manifest
from vbm.repository.prune import execute_prune, plan_prune
from vbm.repository.repository import Repository
from vbm.security.roles import Permission
from vbm.services import identity, repositories, trail
from vbm.services.workspace import Workspace


def listing(workspace: Workspace, wanted: PointFilter) -> list[PointRecord]:
    """The newest first, as far as who asks may see them."""
    with workspace.catalog.reading() as session:
        return list_points(session, replace(wanted, scope=_scope()))


def owners(workspace: Workspace) -> list[tuple[str, str, int]]:
    """(UUID, name, restore points) of each VM that has any, by name, as far as who asks may see them."""
    with workspace.catalog.reading() as session:
        return point_owners(session, _scope())


def summaries(workspace: Workspace, vms: Collection[str] | None = None) -> list[PointSummary]:
    """One for each VM, or of those, that has restore points, by name, as far as who asks may see them."""
    with workspace.catalog.reading() as session:
        return point_summaries(session, _scope(), vms)


def count(workspace: Workspace, repository_id: str) -> tuple[int, int]:
    """(restore points, VMs) of that repository, as far as who asks may see."""
    with workspace.catalog.reading() as session:
        return count_points(session, repository_id, _scope())


def visible_vms(workspace: Workspace) -> frozenset[str] | None:
    """Instance UUIDs of VMs with restore points that who asks may see; None: all."""
    return None if _scope().everything else frozenset(uuid for uuid, _, _ in owners(workspace))


def _scope() -> Scope:
    return identity.require(Permission.SEE).scope


def get(workspace: Workspace, point_id: str, repository_id: str = "") -> PointRecord:
    """The restore point of that id, in that repository where several have it. Raises UnknownNameError."""
    with workspace.catalog.reading() as session:
        found = points_of(session, point_id, _scope())
    for record in found:
        if repository_id in {"", record.repository_id}:
            return record
    raise UnknownNameError(
        f"there is no restore point {point_id!r}", hint="look at the list of restore points"
    )


@contextmanager
def opened(workspace: Workspace, record: PointRecord) -> Iterator[Repository]:
    """Its repository, open."""
    stored = repositories.get(workspace, record.repository_id)
    with closing(repositories.open_stored(workspace, stored)) as repository:
        yield repository


def manifest(workspace: Workspace, record: PointRecord) -> Manifest:
    with opened(workspace, record) as repository:
        return repository.manifest(RestorePointId(record.id))


def pin(workspace: Workspace, record: PointRecord) -> None:
    """Keep it whatever retention says."""
    identity.require(Permission.OPERATE, "pin restore points")
    _pin(workspace, record, pinned=True)


def unpin(workspace: Workspace, record: PointRecord) -> None:
    """Let retention decide again."""
    identity.require(Permission.MANAGE, "unpin restore points")
    _pin(workspace, record, pinned=False)


def _pin(workspace: Workspace, record: PointRecord, *, pinned: bool) -> None:
    with opened(workspace, record) as repository:
        change = repository.pin if pinned else repository.unpin
        change(RestorePointId(record.id))
    with workspace.catalog.writing() as session:
        mark_point(session, record.repository_id, record.id, {"pinned": pinned})
        trail.note(workspace, session, "restore-point.pin" if pinned else "restore-point.unpin", record.id)


def freed_bytes(workspace: Workspace, record: PointRecord) -> int:
    """What its deletion would free: bytes that no other restore point needs. Reads every map of the repository."""
    with opened(workspace, record) as repository:
        return plan_prune(repository, [RestorePointId(record.id)], CancelToken()).freed_bytes


def delete(workspace: Workspace, record: PointRecord) -> int:
    """Delete it from its repository; the bytes that garbage collection will free."""
    identity.require(Permission.MANAGE, "delete restore points")
    with opened(workspace, record) as repository:
        plan = plan_prune(repository, [RestorePointId(record.id)], CancelToken())
        execute_prune(repository, plan)
    with workspace.catalog.writing() as session:
        drop_points(session, record.repository_id, [record.id])
        trail.note(workspace, session, "restore-point.delete", record.id, {"vm": record.vm_name})
    return plan.freed_bytes
