"""Restore points of one repository or of all: list, find, verify, pin, delete."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from vbm.errors import DamagedError, InputError, NotFoundError, VbmError
from vbm.ids import RestorePointId
from vbm.repository.manifest import Manifest
from vbm.repository.repository import DamagedRestorePoint, Repository
from vbm.repository.verdicts import Verdict, verdicts
from vbm.services import access
from vbm.services.access import Where
from vbm.services.workspace import Workspace

_SHORTEST: Final = 4  # characters of an id that may stand for all of it


@dataclass(frozen=True, slots=True)
class Listed:
    """One restore point and what is known of it beside its manifest."""

    repository: str
    manifest: Manifest
    pinned: bool
    verified: Verdict | None


@dataclass(frozen=True, slots=True)
class Found:
    """A restore point in its open repository."""

    label: str
    repository: Repository
    manifest: Manifest


def listing(
    workspace: Workspace, where: Where, vm: str | None, failed: Callable[[str, VbmError], None]
) -> Iterator[Listed]:
    """Restore points, oldest first in each repository; of one VM where its name or instance UUID is given.

    What can't be read, a repository or a restore point, is told to ``failed`` with the repository's name.
    """
    wanted = vm.casefold() if vm is not None else None
    for label, repository in access.each(workspace, where, failed):
        pinned, known = repository.pinned(), verdicts(repository.store)
        for manifest in repository.scan():
            if isinstance(manifest, DamagedRestorePoint):
                failed(label, DamagedError(f"restore point {manifest.id}: {manifest.error.message}"))
                continue
            names = {manifest.vm_name.casefold(), manifest.vm_instance_uuid.casefold()}
            if wanted is None or wanted in names:
                pin_set = manifest.restore_point_id in pinned
                verdict = known.get(manifest.restore_point_id)
                yield Listed(repository=label, manifest=manifest, pinned=pin_set, verified=verdict)


@contextmanager
def found(workspace: Workspace, where: Where, given: str) -> Iterator[Found]:
    """The restore point of that id, or of an unambiguous beginning or end of one, wherever it lies.

    Raises NotFoundError with the nearest ids, InputError where several begin or end so.
    """
    unreachable: list[str] = []
    near: list[str] = []

    def failed(name: str, error: VbmError) -> None:
        unreachable.append(f"{name}: {error.message}")

    for label, repository in access.each(workspace, where, failed):
        manifest, nearest = _in(repository, given)
        near += nearest
        if manifest is not None:
            yield Found(label=label, repository=repository, manifest=manifest)
            return
    hint = f"did you mean {near[0]}?" if near else "vbm restore-point list shows them all"
    if unreachable:
        hint = f"not every repository could be opened ({'; '.join(unreachable)})"
    raise NotFoundError(f"there is no restore point {given!r}", hint=hint)


def _in(repository: Repository, given: str) -> tuple[Manifest | None, list[str]]:
    """(the restore point or None, the ids nearest to what was given). Raises DamagedError for one that is damaged."""
    known = repository.point_ids()
    if given in known:
        return repository.manifest(RestorePointId(given)), []
    fits = [i for i in known if len(given) >= _SHORTEST and (i.startswith(given) or i.endswith(given))]
    if len(fits) > 1:
        raise InputError(f"{len(fits)} restore points fit {given!r}", hint=", ".join(sorted(fits)[:5]))
    if fits:
        return repository.manifest(fits[0]), []
    return None, list(difflib.get_close_matches(given, known, n=1, cutoff=0.8))


def pin(found_point: Found) -> None:
    """Keep it whatever retention says."""
    found_point.repository.pin(found_point.manifest.restore_point_id)


def unpin(found_point: Found) -> None:
    """Let retention decide again."""
    found_point.repository.unpin(found_point.manifest.restore_point_id)
