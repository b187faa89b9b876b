"""``/restore-points``: by VM, and a page for each: what it is, verify, pin, restore, manifest, delete."""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from vbm.catalog.restore_points import PointFilter
from vbm.errors import InputError, VbmError
from vbm.repository.manifest import Manifest
from vbm.security.roles import Permission
from vbm.services import point_runs, points, repositories
from vbm.services.workspace import Workspace
from vbm.web.access import needs
from vbm.web.pages.show import Form, again, back, link, page
from vbm.web.state import Space

router = APIRouter(prefix="/restore-points")
_PAGE: Final = 100
Text = Annotated[str, Query(max_length=400)]


class NameNotTypedError(InputError):
    """What was typed to confirm a deletion is not the name of what would be deleted."""

    code = "name-not-typed"


@router.get("", dependencies=[needs(Permission.SEE)])
def list_vms(
    request: Request,
    space: Space,
    q: Text = "",
    number: Annotated[int, Query(alias="page", ge=1, le=100_000)] = 1,
) -> Response:
    """One line for each VM that has restore points, VMs that are gone too."""
    every = points.owners(space)
    found = fitting(every, q)
    pages = max(1, -(-len(found) // _PAGE))
    number = min(number, pages)
    return page(
        request,
        "points/list.html",
        every=every,
        total=sum(count for _, _, count in every),
        found=points.summaries(space, found[(number - 1) * _PAGE : number * _PAGE]),
        matching=len(found),
        q=q,
        page=number,
        pages=pages,
        url=lambda **change: link("/restore-points", {"q": q}, **change),
        now=space.clock.now(),
    )


def fitting(every: list[tuple[str, str, int]], q: str) -> list[str]:
    """UUIDs of the VMs with that in their name."""
    wanted = q.strip().casefold()
    return [uuid for uuid, name, _ in every if wanted in name.casefold() or wanted == uuid]


@router.get("/vm/{vm}", dependencies=[needs(Permission.SEE)])
def list_points(request: Request, space: Space, vm: str, before: Text = "") -> Response:
    """The restore points of one VM, the newest first."""
    found = points.listing(space, PointFilter(vm=vm, before=before, limit=_PAGE + 1))
    if not found and not before:
        return page(request, "points/none.html", vm=vm)
    shown = found[:_PAGE]
    return page(
        request,
        "points/of_vm.html",
        vm=vm,
        name=shown[0].vm_name if shown else vm,
        points=shown,
        older=shown[-1].id if len(found) > _PAGE else "",
        before=before,
        repositories=names(space),
        now=space.clock.now(),
    )


def names(space: Workspace) -> dict[str, str]:
    """Of repositories, by id."""
    return {record.id: record.name for record in repositories.listing(space)}


@router.get("/{point}", dependencies=[needs(Permission.SEE)])
def show_point(request: Request, space: Space, point: str, repository: Text = "") -> Response:
    """What the catalog knows of it at once; its manifest, which lies in the repository, where that answers."""
    record = points.get(space, point, repository)
    manifest: Manifest | None = None
    problem: VbmError | None = None
    try:
        manifest = points.manifest(space, record)
    except VbmError as error:
        problem = error
    return page(
        request,
        "points/point.html",
        point=record,
        manifest=manifest,
        problem=problem,
        repository=names(space).get(record.repository_id, "a repository that is no longer known"),
        now=space.clock.now(),
    )


@router.get("/{point}/manifest", dependencies=[needs(Permission.SEE)])
def show_manifest(request: Request, space: Space, point: str, repository: Text = "") -> Response:
    """The document as the repository holds it."""
    record = points.get(space, point, repository)
    text = json.dumps(
        json.loads(points.manifest(space, record).to_json()), indent=2, ensure_ascii=False, sort_keys=False
    )
    return page(request, "points/manifest.html", point=record, text=text)


def _at(space: Workspace, point: str, form: Form) -> str:
    record = points.get(space, point, form.get("repository", ""))
    return f"/restore-points/{record.id}"


@router.post("/{point}/pin", dependencies=[needs(Permission.OPERATE)])
def pin(space: Space, point: str, form: Form) -> Response:
    points.pin(space, points.get(space, point, form.get("repository", "")))
    return back(_at(space, point, form), "pinned")


@router.post("/{point}/unpin", dependencies=[needs(Permission.MANAGE)])
def unpin(space: Space, point: str, form: Form) -> Response:
    points.unpin(space, points.get(space, point, form.get("repository", "")))
    return back(_at(space, point, form), "unpinned")


@router.post("/{point}/verify", dependencies=[needs(Permission.OPERATE)])
def verify(space: Space, point: str, form: Form) -> Response:
    """Read it back and check every byte: a run with a page of its own."""
    record = points.get(space, point, form.get("repository", ""))
    mode: Literal["quick", "full"] = "quick" if form.get("mode") == "quick" else "full"
    return back(f"/runs/{point_runs.verify(space, record, mode).id}")


@router.get("/{point}/delete", dependencies=[needs(Permission.MANAGE)])
def ask_delete(request: Request, space: Space, point: str, repository: Text = "") -> Response:
    """What would be lost and what would be freed; reads every map of the repository."""
    record = points.get(space, point, repository)
    freed, problem = 0, None
    try:
        freed = points.freed_bytes(space, record)
    except VbmError as error:
        problem = error
    left = len(points.listing(space, PointFilter(vm=record.vm_uuid))) - 1
    return page(
        request, "points/delete.html", point=record, freed=freed, left=left, problem=problem, refused=problem
    )


@router.post("/{point}/delete", dependencies=[needs(Permission.MANAGE)])
def delete(request: Request, space: Space, point: str, form: Form) -> Response:
    """Only with the VM's name typed."""
    record = points.get(space, point, form.get("repository", ""))
    try:
        if form.get("name", "").strip() != record.vm_name.strip():
            raise NameNotTypedError(
                "the name that was typed is not the VM's", hint=f"type it exactly: {record.vm_name}"
            )
        points.delete(space, record)
    except VbmError as error:
        left = len(points.listing(space, PointFilter(vm=record.vm_uuid))) - 1
        return again(request, "points/delete.html", error, point=record, freed=None, left=left, refused=None)
    return back(f"/restore-points/vm/{record.vm_uuid}", "point-deleted")
