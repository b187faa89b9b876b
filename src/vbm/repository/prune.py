"""Dropping restore points: their documents go, the manifest first; chunks are freed later by garbage collection.

A restore point is gone the moment its manifest is: whatever is left of it by a crash is invisible and collectable.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vbm.errors import NotAllowedError
from vbm.ids import RestorePointId
from vbm.repository.format import manifest_key, restore_point_prefix
from vbm.repository.manifest import Manifest
from vbm.repository.repository import Repository


class PinnedError(NotAllowedError):
    """A pinned restore point is not dropped until it is unpinned."""

    code = "restore-point-pinned"


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """The restore points that go, oldest first."""

    points: tuple[Manifest, ...]


def plan(repository: Repository, ids: Iterable[RestorePointId]) -> PrunePlan:
    """Raises NotFoundError for an id that is not there, PinnedError for a pinned one."""
    wanted = [repository.manifest(point) for point in dict.fromkeys(ids)]
    pinned = repository.pinned()
    for manifest in wanted:
        if manifest.restore_point_id in pinned:
            raise PinnedError(
                f"restore point {manifest.restore_point_id} is pinned",
                hint=f"unpin it first: vbm restore-point unpin {manifest.restore_point_id}",
            )
    return PrunePlan(tuple(sorted(wanted, key=lambda manifest: manifest.started)))


def execute(repository: Repository, chosen: PrunePlan) -> None:
    """Delete them; may be called again after a crash. One pinned meanwhile stays."""
    for manifest in chosen.points:
        if manifest.restore_point_id in repository.pinned():
            continue
        vm, point = manifest.vm_instance_uuid, manifest.restore_point_id
        repository.store.delete(manifest_key(vm, point))
        for info in list(repository.store.list(restore_point_prefix(vm, point))):
            repository.store.delete(info.key)
