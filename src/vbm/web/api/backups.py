"""``/backups``: restore points."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from vbm.catalog.restore_points import PointFilter, PointRecord
from vbm.catalog.runs import RunRecord
from vbm.security.roles import Permission
from vbm.services import jobs, point_runs, points, repositories, vcenters
from vbm.services.documents import point_document, run_document
from vbm.services.workspace import Workspace
from vbm.vsphere.restore_spec import RestoreSpec
from vbm.web.access import needs
from vbm.web.api.moments import Moment
from vbm.web.api.paging import Pages
from vbm.web.api.schemas import Given, Page, RunShown, Text, Time
from vbm.web.state import Space

router = APIRouter(prefix="/backups", tags=["backups"])


class VerdictShown(BaseModel):
    """How it was found when it was verified last."""

    time: Time
    mode: Literal["quick", "full"]
    good: bool


class PointShown(BaseModel):
    """One restore point: complete in itself, however it was read."""

    id: str
    repository_id: str
    repository: str | None
    vm_name: str
    vm_instance_uuid: str
    vcenter: str
    started: Time
    finished: Time
    read_mode: str
    consistency: str
    size_bytes: int
    new_bytes: int
    job_id: str | None
    run_id: str
    verified: VerdictShown | None
    pinned: bool


class Freed(BaseModel):
    freed_bytes: int


class VerifyGiven(Given):
    """``full`` reads every byte back; ``quick`` looks that everything is there. ``repository_id``: id or name."""

    mode: Literal["quick", "full"] = "full"
    repository_id: Text = ""


class RestoreGiven(Given):
    """As a new VM of that ``name``, or ``in_place``. What is left out is as it was when the VM was backed up.

    ``vcenter_id`` and ``repository_id`` are ids or names. ``network``: name then → name now, ``-`` leaves it out.
    """

    name: Annotated[str, Field(max_length=80)] = ""
    in_place: bool = False
    vcenter_id: Text = ""
    datastore: Text = ""
    host: Text = ""
    folder: Text = ""
    resource_pool: Text = ""
    datacenter: Text = ""
    network: dict[Text, Text] = Field(default_factory=dict)
    power_on: bool = False
    repository_id: Text = ""

    def spec(self) -> RestoreSpec:
        return RestoreSpec(
            name=self.name,
            in_place=self.in_place,
            datastore=self.datastore,
            host=self.host,
            folder=self.folder,
            resource_pool=self.resource_pool,
            datacenter=self.datacenter,
            network_map=self.network,
            power_on=self.power_on,
        )


Lies = Annotated[
    str, Query(alias="repository", max_length=200, description="Name or id, where several have it.")
]


@router.get("", dependencies=[needs(Permission.SEE)], response_model=Page[PointShown])
def list_backups(
    space: Space,
    paging: Pages,
    *,
    vm: Annotated[str, Query(max_length=400, description="Name or instance UUID.")] = "",
    repository: Annotated[str, Query(max_length=200, description="Name or id.")] = "",
    vcenter: Annotated[str, Query(max_length=200, description="Name or id.")] = "",
    job: Annotated[str, Query(max_length=200, description="Name or id of the job that made it.")] = "",
    pinned: bool | None = None,
    verified: Annotated[
        Literal["never", "good", "damaged"] | None, Query(description="How it was found last.")
    ] = None,
    since: Annotated[Moment | None, Query(description="Begun then or later.")] = None,
    until: Annotated[Moment | None, Query(description="Begun before then.")] = None,
) -> dict[str, Any]:
    """The newest first."""
    wanted = PointFilter(
        vm=vm,
        repository_id=repositories.get(space, repository).id if repository else "",
        vcenters=(vcenters.seen(space, vcenter).name,) if vcenter else (),
        job_id=jobs.get(space, job).id if job else "",
        pinned=pinned,
        verified=verified or "",
        since=since,
        until=until,
        before=paging.after.partition(" ")[0],
        before_repository=paging.after.partition(" ")[2],
        limit=paging.limit + 1,
    )
    names = _names(space)
    found = points.listing(space, wanted)
    return paging.page(
        found,
        lambda one: f"{one.id} {one.repository_id}",
        lambda one: point_document(one, names.get(one.repository_id, "")),
    )


def _names(space: Workspace) -> dict[str, str]:
    return {record.id: record.name for record in repositories.listing(space)}


@router.get("/{backup}", dependencies=[needs(Permission.SEE)], response_model=PointShown)
def get_backup(space: Space, backup: str, lies: Lies = "") -> dict[str, Any]:
    """The restore point of that id."""
    return _shown(space, _point(space, backup, lies))


def _shown(space: Workspace, record: PointRecord) -> dict[str, Any]:
    return point_document(record, _names(space).get(record.repository_id, ""))


@router.get("/{backup}/manifest", dependencies=[needs(Permission.SEE)], response_model=dict[str, Any])
def get_manifest(space: Space, backup: str, lies: Lies = "") -> dict[str, Any]:
    """Its manifest, as the repository holds it."""
    document: dict[str, Any] = json.loads(points.manifest(space, _point(space, backup, lies)).to_json())
    return document


@router.post("/{backup}/pin", dependencies=[needs(Permission.OPERATE)], response_model=PointShown)
def pin_backup(space: Space, backup: str, lies: Lies = "") -> dict[str, Any]:
    """Keep it whatever retention says."""
    record = _point(space, backup, lies)
    points.pin(space, record)
    return _shown(space, replace(record, pinned=True))


@router.post("/{backup}/unpin", dependencies=[needs(Permission.MANAGE)], response_model=PointShown)
def unpin_backup(space: Space, backup: str, lies: Lies = "") -> dict[str, Any]:
    """Let retention decide again."""
    record = _point(space, backup, lies)
    points.unpin(space, record)
    return _shown(space, replace(record, pinned=False))


@router.delete("/{backup}", dependencies=[needs(Permission.MANAGE)], response_model=Freed)
def delete_backup(space: Space, backup: str, lies: Lies = "") -> dict[str, int]:
    """Delete it; its space comes back with the next garbage collection."""
    return {"freed_bytes": points.delete(space, _point(space, backup, lies))}


@router.post(
    "/{backup}/verify", status_code=202, dependencies=[needs(Permission.OPERATE)], response_model=RunShown
)
def verify_backup(space: Space, backup: str, given: VerifyGiven, response: Response) -> dict[str, Any]:
    """Have a worker verify it; the run tells how far it is and what it found."""
    run = point_runs.verify(space, _point(space, backup, given.repository_id), given.mode)
    return _started(space, run, response)


@router.post(
    "/{backup}/restore", status_code=202, dependencies=[needs(Permission.OPERATE)], response_model=RunShown
)
def restore_backup(space: Space, backup: str, given: RestoreGiven, response: Response) -> dict[str, Any]:
    """Have a worker restore the whole VM. In place only an administrator may."""
    record = _point(space, backup, given.repository_id)
    return _started(space, point_runs.restore(space, record, given.vcenter_id, given.spec()), response)


def _point(space: Workspace, backup: str, repository: str) -> PointRecord:
    return points.get(space, backup, repositories.get(space, repository).id if repository else "")


def _started(space: Workspace, run: RunRecord, response: Response) -> dict[str, Any]:
    response.headers["Location"] = f"/api/v1/runs/{run.id}"
    return run_document(run, space.clock)
