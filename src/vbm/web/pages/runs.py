"""``/runs``: what is running, what ran, and why something failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from vbm.catalog.runs import ENDED, KINDS, LIVE, RunFilter, RunRecord
from vbm.errors import VbmError
from vbm.security.roles import Permission
from vbm.services import identity, jobs, runs
from vbm.services.documents import run_rate
from vbm.services.workspace import Workspace
from vbm.web.access import needs
from vbm.web.pages.shell import page
from vbm.web.pages.words import KIND_WORDS
from vbm.web.state import Space

router = APIRouter(prefix="/runs")
PAGE: Final = 50
SHOWS: Final = (
    ("", "All", ()),
    ("running", "Running", LIVE),
    ("failed", "Failed", ("failed",)),
    ("warning", "Warnings", ("warning",)),
    ("succeeded", "Succeeded", ("succeeded",)),
    ("cancelled", "Cancelled", ("cancelled",)),
)
STEPS: Final = ("Connecting", "Snapshot", "Downloading", "Compressing", "Done")
_LAST_STEP: Final = {"failed": "Failed", "cancelled": "Cancelled"}
_STEP_OF: Final = {
    "connecting": 0,
    "snapshot": 1,
    "downloading": 2,
    "compressing": 3,
    "committing": 3,
    "cleanup": 3,
    "done": 4,
}
Text = Annotated[str, Query(max_length=400)]


@router.get("", dependencies=[needs(Permission.SEE)])
def list_runs(  # noqa: PLR0917 - a filter a field
    request: Request,
    space: Space,
    state: Text = "",
    job: Text = "",
    vm: Text = "",
    kind: Text = "",
    execution: Text = "",
    before: Text = "",
) -> Response:
    """The newest first; every filter is in the address."""
    known = jobs.get(space, job) if job else None
    states = next((states for key, _, states in SHOWS if key == state), ())
    wanted = RunFilter(
        states=states,
        job_id=known.id if known else "",
        vm=vm.strip(),
        kinds=(kind,) if kind in KINDS else (),
        execution_id=execution,
        before=before,
        limit=PAGE + 1,
    )
    found = runs.visible(space, wanted)
    query = {"state": state, "job": job, "vm": vm, "kind": kind, "execution": execution}
    return page(
        request,
        "runs/list.html",
        runs=found[:PAGE],
        job=known,
        wanted=query,
        shows=SHOWS,
        kinds=KINDS,
        url=lambda **change: link(query, change),
        first=link(query, {}) if before else "",
        following=link(query, {"before": found[PAGE - 1].id}) if len(found) > PAGE else "",
        filtered=any(query.values()),
    )


def link(query: Mapping[str, str], change: Mapping[str, str]) -> str:
    """The same list with another filter or page."""
    kept = {name: value for name, value in {**query, **change}.items() if value}
    return f"/runs?{urlencode(kept)}" if kept else "/runs"


@router.get("/{run}", dependencies=[needs(Permission.SEE)])
def show_run(request: Request, space: Space, run: str) -> Response:
    """Live while it goes; its report after the end."""
    record = runs.get(space, run)
    if record.id != run:
        return RedirectResponse(f"/runs/{record.id}", 303)
    rate, left = run_rate(record, space.clock)
    return page(
        request,
        "runs/run.html",
        run=record,
        live=record.state not in ENDED,
        job=_job_of(space, record),
        rate=rate,
        left=left,
        log=_log(space, record),
        steps=(*STEPS[:-1], _LAST_STEP.get(record.state, STEPS[-1])),
        step=_STEP_OF.get(record.phase, 0),
        facts=_facts(record),
        sentence=sentence(record),
    )


def _job_of(space: Workspace, record: RunRecord) -> str:
    """The job's id while there is such a job."""
    try:
        return jobs.get(space, record.job_id).id if record.job_id else ""
    except VbmError:
        return ""


def _log(space: Workspace, record: RunRecord) -> list[Any]:
    """Logs are for who operates."""
    if identity.current().role == "viewer":
        return []
    return runs.logs(space, record)


def sentence(record: RunRecord) -> str:
    """How it stands, in words."""
    what = KIND_WORDS[record.kind]
    said = {
        "queued": f"This {what} waits for a worker.",
        "running": f"This {what} is running.",
        "succeeded": f"This {what} succeeded.",
        "warning": f"This {what} is done, with something to look at.",
        "failed": f"This {what} failed.",
        "cancelled": f"This {what} was cancelled.",
    }[record.state]
    if record.state in LIVE and record.cancel_requested_at is not None:
        return f"This {what} is being stopped; its snapshot is removed first."
    return said


_BYTES: Final = {
    "capacity_bytes": "Size of the VM's disks",
    "bytes_changed": "Changed",
    "bytes_read": "Read",
    "bytes_new": "New in the repository",
    "bytes_audited": "Read again to be sure",
}


def _facts(record: RunRecord) -> list[tuple[str, int]]:
    """(what, bytes) of what was done."""
    return [
        (words, int(record.result[name]))
        for name, words in _BYTES.items()
        if isinstance(record.result.get(name), int) and (record.result[name] or name != "bytes_audited")
    ]


@router.post("/{run}/cancel", dependencies=[needs(Permission.OPERATE)])
def cancel(space: Space, run: str) -> Response:
    """Ask it to stop."""
    record = runs.cancel(space, run)
    return RedirectResponse(f"/runs/{record.id}", 303)


@router.post("/{run}/again", dependencies=[needs(Permission.OPERATE)])
def again(space: Space, run: str) -> Response:
    """The same VM by the same job, now."""
    record = runs.get(space, run)
    job, execution = jobs.run_now(space, record.job_id, vms=(record.vm_uuid,))
    return RedirectResponse(f"/jobs/{job.id}?done=asked&execution={execution}", 303)
