"""Prune: drop restore points. Their chunks stay until garbage collection finds that nothing needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vbm.cancel import CancelToken
from vbm.errors import InputError, NotFoundError
from vbm.ids import RestorePointId, VmUuid
from vbm.repository.format import manifest_key, restore_point_prefix
from vbm.repository.manifest import Manifest
from vbm.repository.marks import Marks, among, needed, words_of
from vbm.repository.repository import DamagedRestorePoint, Repository
from vbm.repository.verdicts import forget_verdicts


class PinnedError(InputError):
    """A pinned restore point was to be deleted."""

    code = "restore-point-pinned"


@dataclass(frozen=True, slots=True)
class Dropped:
    """One restore point that goes. ``vm_name`` is empty where its manifest can't be read."""

    id: RestorePointId
    vm: VmUuid
    vm_name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """``freed_bytes``: of chunks that no other restore point needs; they go with garbage collection.

    An estimate: what a damaged map needs is not known, and deleting it must be possible all the same.
    """

    drop: tuple[Dropped, ...]
    freed_bytes: int


def plan_prune(
    repo: Repository, points: Sequence[RestorePointId], cancel: CancelToken | None = None
) -> PrunePlan:
    """What deleting these restore points would take away. Raises NotFoundError, PinnedError."""
    cancel = cancel or CancelToken()
    pinned = repo.pinned() & set(points)
    if pinned:
        raise PinnedError(
            f"restore point {min(pinned)} is pinned", hint="unpin it first: vbm restore-point unpin ID"
        )
    going: list[Manifest | DamagedRestorePoint] = []
    staying: list[Manifest | DamagedRestorePoint] = []
    for found in repo.scan():
        gone = (found.id if isinstance(found, DamagedRestorePoint) else found.restore_point_id) in points
        (going if gone else staying).append(found)
    missing = set(points) - {_dropped(found).id for found in going}
    if missing:
        raise NotFoundError(f"no restore point {min(missing)!r} in {repo.store.url}")
    readable = [found for found in going if isinstance(found, Manifest)]
    others = [found for found in staying if isinstance(found, Manifest)]
    own = needed(repo, readable, cancel, pass_over_damage=True)
    freed = _stored_bytes(repo, own, needed(repo, others, cancel, pass_over_damage=True))
    return PrunePlan(tuple(_dropped(found) for found in going), freed)


def _dropped(found: Manifest | DamagedRestorePoint) -> Dropped:
    if isinstance(found, DamagedRestorePoint):
        return Dropped(found.id, found.vm, "", 0)
    return Dropped(found.restore_point_id, found.vm_instance_uuid, found.vm_name, found.size_bytes)


def _stored_bytes(repo: Repository, own: Marks, others: Marks) -> int:
    """The stored size of chunks marked in ``own`` and not in ``others``."""
    alone = own[~among(others, own)]
    return sum(int(lengths[among(alone, words_of(ids))].sum()) for _, ids, _, lengths in repo.index.columns())


def execute_prune(repo: Repository, plan: PrunePlan, cancel: CancelToken | None = None) -> None:
    """Delete them: each manifest first, so that a restore point is either whole or not there."""
    for point in plan.drop:
        (cancel or CancelToken()).check()
        repo.store.delete(manifest_key(point.vm, point.id))
        for info in list(repo.store.list(restore_point_prefix(point.vm, point.id))):
            repo.store.delete(info.key)
        forget_verdicts(repo.store, point.id)
