"""``/jobs``: what is protected, when, where to and how long."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from vbm.catalog.jobs import JobRecord
from vbm.clock import rfc3339
from vbm.security.roles import Permission
from vbm.services import jobs, repositories, runs, vcenters
from vbm.services.documents import job_document, run_document
from vbm.services.workspace import Workspace
from vbm.web.access import needs
from vbm.web.api import etags
from vbm.web.api.etags import IfMatch
from vbm.web.api.paging import Pages, by_name
from vbm.web.api.schemas import Execution, JobChange, JobGiven, JobShown, JobWithSlots, Page, RunGiven
from vbm.web.state import Space

router = APIRouter(prefix="/jobs", tags=["jobs"])
_Named = Annotated[str, Query(max_length=200)]


def etag_of(record: JobRecord) -> str:
    return etags.tag(record.id, record.updated)


def _shown(record: JobRecord, response: Response) -> dict[str, Any]:
    response.headers["ETag"] = etag_of(record)
    return job_document(record)


@router.get("", dependencies=[needs(Permission.SEE)], response_model=Page[JobShown])
def list_jobs(  # noqa: PLR0917 - a filter a field
    space: Space,
    paging: Pages,
    name: Annotated[str, Query(max_length=200, description="A part of it.")] = "",
    vcenter: Annotated[str, Query(max_length=200, description="Name or id.")] = "",
    repository: Annotated[str, Query(max_length=200, description="Name or id.")] = "",
    enabled: bool | None = None,
    last_state: _Named = "",
) -> dict[str, Any]:
    """Every job, by name."""
    vcenter = vcenters.seen(space, vcenter).id if vcenter else ""
    repository = repositories.get(space, repository).id if repository else ""
    found = [
        record
        for record in jobs.visible(space)
        if name.casefold() in record.name.casefold()
        and vcenter in {"", record.vcenter_id}
        and repository in {"", record.repository_id}
        and enabled in {None, record.enabled}
        and last_state in {"", record.last_state}
    ]
    return paging.slice(found, lambda record: by_name(record.name, record.id), job_document)


@router.post("", status_code=201, dependencies=[needs(Permission.MANAGE)], response_model=JobShown)
def create_job(space: Space, given: JobGiven, response: Response) -> dict[str, Any]:
    """Create a job; it runs at its next slot."""
    record = jobs.create(space, given.model_dump(exclude_none=True))
    response.headers["Location"] = f"/api/v1/jobs/{record.id}"
    return _shown(record, response)


@router.get("/{job}", dependencies=[needs(Permission.SEE)], response_model=JobWithSlots)
def get_job(space: Space, job: str, response: Response) -> dict[str, Any]:
    """The job of that id or name, and when it runs next."""
    record = jobs.get(space, job)
    upcoming = jobs.upcoming(record, space.clock.now())
    return _shown(record, response) | {"upcoming": [rfc3339(slot) for slot in upcoming]}


@router.patch("/{job}", dependencies=[needs(Permission.MANAGE)], response_model=JobShown)
def change_job(
    space: Space, job: str, given: JobChange, response: Response, if_match: IfMatch = ""
) -> dict[str, Any]:
    """Change the fields given, objects field by field. Runs under way go on as they began."""
    condition = etags.unless_changed(if_match, etag_of)
    return _shown(jobs.update(space, job, given.model_dump(exclude_unset=True), condition), response)


@router.delete("/{job}", status_code=204, dependencies=[needs(Permission.MANAGE)])
def delete_job(space: Space, job: str, if_match: IfMatch = "") -> None:
    """Delete the job; its runs and restore points stay."""
    jobs.delete(space, job, etags.unless_changed(if_match, etag_of, needed=False))


@router.post(
    "/{job}/run", status_code=202, dependencies=[needs(Permission.OPERATE)], response_model=Execution
)
def run_job(space: Space, job: str, given: RunGiven | None = None) -> dict[str, Any]:
    """Run it now. A worker looks up its VMs: ask `/jobs/{job}/executions/{execution}` what they have become."""
    wanted = given or RunGiven()
    record, execution = jobs.run_now(space, job, vms=wanted.vms, mode=wanted.mode)
    return _execution(space, record, execution)


@router.get("/{job}/executions/{execution}", dependencies=[needs(Permission.SEE)], response_model=Execution)
def get_execution(space: Space, job: str, execution: str) -> dict[str, Any]:
    """What has become of one time that the job was run: pending, then started with its runs, or failed."""
    return _execution(space, jobs.get(space, job), execution)


def _execution(space: Workspace, record: JobRecord, execution_id: str) -> dict[str, Any]:
    execution, found = runs.of_job_execution(space, record.id, execution_id)
    return {
        "execution_id": execution.id,
        "job_id": record.id,
        "state": execution.state,
        "error": execution.error or None,
        "runs": [run_document(run, space.clock) for run in found],
    }


@router.post("/{job}/cancel", dependencies=[needs(Permission.OPERATE)], response_model=Execution)
def cancel_job(space: Space, job: str) -> dict[str, Any]:
    """Cancel every run of the job that has not ended."""
    record = jobs.get(space, job)
    stopped = runs.cancel_all(space, record.id)
    return {
        "execution_id": "",
        "job_id": record.id,
        "state": "cancelled",
        "error": None,
        "runs": [run_document(run, space.clock) for run in stopped],
    }


@router.post("/{job}/enable", dependencies=[needs(Permission.MANAGE)], response_model=JobShown)
def enable_job(space: Space, job: str, response: Response) -> dict[str, Any]:
    """Let it run at its times again."""
    return _shown(jobs.update(space, job, {"enabled": True}), response)


@router.post("/{job}/disable", dependencies=[needs(Permission.MANAGE)], response_model=JobShown)
def disable_job(space: Space, job: str, response: Response) -> dict[str, Any]:
    """Let it run only when asked."""
    return _shown(jobs.update(space, job, {"enabled": False}), response)
