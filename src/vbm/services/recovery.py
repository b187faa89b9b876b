"""The catalog built anew from a repository: its restore points, as their manifests tell them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace

from vbm.catalog.repositories import RepositoryRecord
from vbm.catalog.restore_points import replace_points
from vbm.repository.repository import DamagedRestorePoint
from vbm.services import repositories, trail
from vbm.services.repositories import Key
from vbm.services.workspace import Workspace
from vbm.workflows.phases import point_of


@dataclass(frozen=True, slots=True)
class Recovered:
    """``damaged``: restore points whose manifest can't be read."""

    repository: RepositoryRecord
    added: bool
    points: int
    damaged: tuple[str, ...]


def recover(workspace: Workspace, url: str, key: Key, name: str) -> Recovered:
    """Know the repository, by ``name`` where it is new, and list its restore points. May be repeated."""
    record, added = _known(workspace, url, key, name)
    with closing(repositories.open_stored(workspace, record)) as repository:
        found = list(repository.scan())
        pinned = repository.pinned()
    damaged = tuple(p.id for p in found if isinstance(p, DamagedRestorePoint))
    points = [
        replace(point_of(m, record.id), pinned=m.restore_point_id in pinned)
        for m in found
        if not isinstance(m, DamagedRestorePoint)
    ]
    with workspace.catalog.writing() as session:
        count = replace_points(session, record.id, points)
        trail.note(workspace, session, "catalog.recover", record.name, {"restore_points": count})
    return Recovered(record, added, count, damaged)


def _known(workspace: Workspace, url: str, key: Key, name: str) -> tuple[RepositoryRecord, bool]:
    with closing(repositories.open_at(url, key.source)) as opened:
        identity = str(opened.id)
    for record in repositories.listing(workspace):
        if record.repository_id == identity:
            return record, False
    return repositories.add(workspace, name, url, key), True
