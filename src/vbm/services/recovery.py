"""The catalog built anew from a repository: its restore points, as their manifests tell them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from vbm.catalog.repositories import RepositoryRecord
from vbm.catalog.restore_points import replace_points
from vbm.errors import InputError, NotFoundError
from vbm.repository.catalog_copies import copies, installation_of, read_copy
from vbm.repository.repository import DamagedRestorePoint
from vbm.repository.verdicts import verdicts
from vbm.services import repositories, trail
from vbm.services.repositories import Key
from vbm.services.repository_address import open_at
from vbm.services.workspace import Workspace
from vbm.settings import Settings
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
    with closing(open_at(url, key.source)) as repository:
        found = list(repository.scan())
        pinned, known = repository.pinned(), verdicts(repository.store)
    damaged = tuple(p.id for p in found if isinstance(p, DamagedRestorePoint))
    points = []
    for m in found:
        if isinstance(m, DamagedRestorePoint):
            continue
        point = replace(point_of(m, record.id), pinned=m.restore_point_id in pinned)
        verdict = known.get(m.restore_point_id)
        if verdict is not None:
            point = replace(
                point, verified=verdict.time, verified_mode=verdict.mode, verified_good=verdict.good
            )
        points.append(point)
    with workspace.catalog.writing() as session:
        count = replace_points(session, record.id, points)
        trail.note(workspace, session, "catalog.recover", record.name, {"restore_points": count})
    return Recovered(record, added, count, damaged)


def restore_copy(settings: Settings, url: str, key: Key, wanted: str = "") -> str:
    """Bring back the database of an embedded installation from its copy in the repository; the copy's id.

    ``wanted`` is needed where several installations keep copies there. Raises InputError where there is a database
    already, NotFoundError where there is no copy.
    """
    target = _new_database(settings)
    with closing(open_at(url, key.source)) as repository:
        copy_id = _chosen(copies(repository.store), wanted, url)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        staged = target.with_name(f".{target.name}.recovered")
        staged.unlink(missing_ok=True)
        try:
            read_copy(repository.store, repository.envelope, copy_id, staged)
            staged.chmod(0o600)
            staged.rename(target)
        finally:
            staged.unlink(missing_ok=True)
    return copy_id


def _new_database(settings: Settings) -> Path:
    place = settings.database_url.removeprefix("sqlite:///")
    if place == settings.database_url:
        raise InputError(
            "VBM_DATABASE_URL is no embedded database", hint="restore it with PostgreSQL's own tools"
        )
    if Path(place).exists():
        raise InputError(
            f"there is a database already: {place}", hint="move it away first, or leave out --from-copy"
        )
    return Path(place)


def _chosen(known: list[str], wanted: str, url: str) -> str:
    if not known:
        raise NotFoundError(
            f"there is no copy of a catalog in {url}", hint="recover without --from-copy: restore points only"
        )
    if wanted:
        if wanted not in known:
            raise NotFoundError(f"there is no copy {wanted} in {url}", hint=f"there are {', '.join(known)}")
        return wanted
    if len({installation_of(copy) for copy in known}) > 1:
        raise InputError("several installations keep copies there", hint=f"name one of {', '.join(known)}")
    return known[-1]


def _known(workspace: Workspace, url: str, key: Key, name: str) -> tuple[RepositoryRecord, bool]:
    with closing(open_at(url, key.source)) as opened:
        identity = str(opened.id)
    for record in repositories.listing(workspace):
        if record.repository_id == identity:
            return record, False
    return repositories.add(workspace, name, url, key), True
