"""``/backups``: restore points."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from vbm.catalog.restore_points import PointFilter
from vbm.security.roles import Permission
from vbm.services import points, repositories
from vbm.services.documents import point_document
from vbm.services.workspace import Workspace
from vbm.web.access import needs
from vbm.web.api.paging import Cursor, Limit, after, page
from vbm.web.api.schemas import Page
from vbm.web.state import Space

router = APIRouter(prefix="/backups", tags=["backups"])


class PointShown(BaseModel):
    """One restore point: complete in itself, however it was read."""

    id: str
    repository_id: str
    repository: str | None
    vm_name: str
    vm_instance_uuid: str
    vcenter: str
    started: str
    finished: str
    read_mode: str
    consistency: str
    size_bytes: int
    new_bytes: int
    verified: str | None
    pinned: bool


class Freed(BaseModel):
    freed_bytes: int


@router.get("", dependencies=[needs(Permission.SEE)], response_model=Page[PointShown])
def list_backups(
    space: Space,
    limit: Limit = 100,
    cursor: Cursor = "",
    vm: Annotated[str, Query(max_length=400, description="Name or instance UUID.")] = "",
    repository: Annotated[str, Query(max_length=200, description="Name or id.")] = "",
) -> dict[str, Any]:
    """The newest first."""
    wanted = PointFilter(
        vm=vm,
        repository_id=repositories.get(space, repository).id if repository else "",
        before=after(cursor) if cursor else "",
        limit=limit + 1,
    )
    names = _names(space)
    found = points.listing(space, wanted)
    return page(found, limit, lambda r: r.id, lambda r: point_document(r, names.get(r.repository_id, "")))


def _names(space: Workspace) -> dict[str, str]:
    return {record.id: record.name for record in repositories.listing(space)}


@router.get("/{backup}", dependencies=[needs(Permission.SEE)], response_model=PointShown)
def get_backup(space: Space, backup: str) -> dict[str, Any]:
    """The restore point of that id."""
    record = points.get(space, backup)
    return point_document(record, _names(space).get(record.repository_id, ""))


@router.get("/{backup}/manifest", dependencies=[needs(Permission.SEE)], response_model=dict[str, Any])
def get_manifest(space: Space, backup: str) -> dict[str, Any]:
    """Its manifest, as the repository holds it."""
    document: dict[str, Any] = json.loads(points.manifest(space, points.get(space, backup)).to_json())
    return document


@router.post("/{backup}/pin", dependencies=[needs(Permission.OPERATE)], response_model=PointShown)
def pin_backup(space: Space, backup: str) -> dict[str, Any]:
    """Keep it whatever retention says."""
    points.pin(space, points.get(space, backup))
    return get_backup(space, backup)


@router.post("/{backup}/unpin", dependencies=[needs(Permission.MANAGE)], response_model=PointShown)
def unpin_backup(space: Space, backup: str) -> dict[str, Any]:
    """Let retention decide again."""
    points.unpin(space, points.get(space, backup))
    return get_backup(space, backup)


@router.delete("/{backup}", dependencies=[needs(Permission.MANAGE)], response_model=Freed)
def delete_backup(space: Space, backup: str) -> dict[str, int]:
    """Delete it; its space comes back with the next garbage collection."""
    return {"freed_bytes": points.delete(space, points.get(space, backup))}
