"""``/jobs``: what is protected, when, where to and how long."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from vbm.catalog.jobs import JobRecord
from vbm.errors import NotAllowedError
from vbm.security.roles import Permission
from vbm.services import jobs, runs
from vbm.services.documents import job_document, run_document
from vbm.web.access import needs
from vbm.web.api.paging import Cursor, Limit, after, page
from vbm.web.api.schemas import Execution, JobChange, JobGiven, JobShown, Page, RunGiven
from vbm.web.state import Space

router = APIRouter(prefix="/jobs", tags=["jobs"])
IfMatch = Annotated[str, Header(alias="If-Match", max_length=200)]


class ChangedMeanwhileError(NotAllowedError):
    """Somebody else changed it since it was read."""

    code = "changed-meanwhile"


def etag_of(record: JobRecord) -> str:
    return f'"{record.updated.timestamp():.6f}"'


@router.get("", dependencies=[needs(Permission.SEE)], response_model=Page[JobShown])
def list_jobs(
    space: Space, limit: Limit = 100, cursor: Cursor = "", name: Annotated[str, Query(max_length=200)] = ""
) -> dict[str, Any]:
    """Every job, by name."""
    found = [record for record in jobs.visible(space) if name.casefold() in record.name.casefold()]
    if cursor:
        last = after(cursor)
        found = found[next((n + 1 for n, r in enumerate(found) if r.id == last), len(found)) :]
    return page(found, limit, lambda record: record.id, job_document)


@router.post("", status_code=201, dependencies=[needs(Permission.MANAGE)], response_model=JobShown)
def create_job(space: Space, given: JobGiven, response: Response) -> dict[str, Any]:
    """Create a job; it runs at its next slot."""
    record = jobs.create(space, given.model_dump(exclude_none=True))
    response.headers["Location"] = f"/api/v1/jobs/{record.id}"
    response.headers["ETag"] = etag_of(record)
    return job_document(record)


@router.get("/{job}", dependencies=[needs(Permission.SEE)], response_model=JobShown)
def get_job(space: Space, job: str, response: Response) -> dict[str, Any]:
    """The job of that id or name."""
    record = jobs.get(space, job)
    response.headers["ETag"] = etag_of(record)
    upcoming = jobs.upcoming(record, space.clock.now())
    return job_document(record) | {"upcoming": [slot.isoformat() for slot in upcoming]}


@router.patch("/{job}", dependencies=[needs(Permission.MANAGE)], response_model=JobShown)
def change_job(
    space: Space, job: str, given: JobChange, response: Response, if_match: IfMatch = ""
) -> dict[str, Any]:
    """Change the fields given. With `If-Match` only where nobody changed it since it was read."""
    if if_match and if_match != etag_of(jobs.get(space, job)):
        raise ChangedMeanwhileError(
            "the job was changed meanwhile", hint="read it again and repeat the change"
        )
    record = jobs.update(space, job, given.model_dump(exclude_unset=True))
    response.headers["ETag"] = etag_of(record)
    return job_document(record)


@router.delete("/{job}", status_code=204, dependencies=[needs(Permission.MANAGE)])
def delete_job(space: Space, job: str) -> None:
    """Delete the job; its runs and restore points stay."""
    jobs.delete(space, job)


@router.post(
    "/{job}/run", status_code=202, dependencies=[needs(Permission.OPERATE)], response_model=Execution
)
def run_job(space: Space, job: str, given: RunGiven | None = None) -> dict[str, Any]:
    """Run it now."""
    wanted = given or RunGiven()
    record, execution = jobs.run_now(space, job, vms=wanted.vms, mode=wanted.mode)
    _, found = runs.of_execution(space, execution)
    return {
        "execution_id": execution,
        "job_id": record.id,
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
        "runs": [run_document(run, space.clock) for run in stopped],
    }


@router.post("/{job}/enable", dependencies=[needs(Permission.MANAGE)], response_model=JobShown)
def enable_job(space: Space, job: str) -> dict[str, Any]:
    """Let it run at its times again."""
    return job_document(jobs.update(space, job, {"enabled": True}))


@router.post("/{job}/disable", dependencies=[needs(Permission.MANAGE)], response_model=JobShown)
def disable_job(space: Space, job: str) -> dict[str, Any]:
    """Let it run only when asked."""
    return job_document(jobs.update(space, job, {"enabled": False}))
