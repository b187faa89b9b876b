"""``/``: are we safe, and if not, what is to be done."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from vbm.catalog.runs import RunFilter, RunRecord
from vbm.security.roles import Permission
from vbm.services import attention, condition, growth, job_views, jobs, live, overview, repositories, runs
from vbm.services.overview import Dashboard
from vbm.services.workspace import Workspace
from vbm.web.access import needs
from vbm.web.pages.shell import page
from vbm.web.state import Space, state_of

router = APIRouter()
_SEE = [needs(Permission.SEE)]
_SQUARES: Final = 300
_ROWS: Final = 12


@router.get("/", dependencies=_SEE)
def show(request: Request, space: Space) -> Response:
    """The first line answers; then what to do, what runs, and how the last day was."""
    seen = live.live(space)  # before all else: what changes meanwhile is told of
    found = overview.dashboard(space)
    now = space.clock.now()
    steps = _first_steps(space) if not found.protected else None
    return page(
        request,
        "dashboard/dashboard.html",
        found=found,
        items=attention.items(found, condition.condition(space, state_of(request).checks()).checks, now),
        live=seen,
        day=_by_job(found),
        squares=_SQUARES,
        day_cells=_cells,
        steps=steps if steps is not None and not all(done for *_, done in steps) else None,
    )


@router.get("/parts/running", dependencies=_SEE)
def running(request: Request, space: Space) -> Response:
    """What runs now, with live bars."""
    return page(
        request,
        "dashboard/_running.html",
        running=live.under_way(space, overview.UNDER_WAY),
        live=live.live(space),
    )


@router.get("/parts/capacity", dependencies=_SEE)
def capacity(request: Request, space: Space) -> Response:
    """Asked for after the page: far away stores answer slowly."""
    return page(request, "dashboard/_capacity.html", storage=growth.document(space, 30))


@router.get("/parts/top", dependencies=_SEE)
def top(request: Request, space: Space) -> Response:
    """How much work is running: in the top bar of every page."""
    return page(request, "dashboard/_top.html", live=live.live(space))


def _by_job(found: Dashboard) -> list[tuple[str, str, list[RunRecord]]]:
    """(job id, its name, its backups of the last day in order), those with failures first."""
    rows: dict[str, list[RunRecord]] = {}
    for run in found.last_day:
        if run.kind == "backup":
            rows.setdefault(run.job_id, []).append(run)
    ordered = sorted(rows.items(), key=lambda row: (-_bad(row[1]), row[1][-1].job_name.casefold()))
    return [(job, row[-1].job_name or "By hand", row) for job, row in ordered[:_ROWS]]


def _cells(row: list[RunRecord]) -> list[tuple[str, str]]:
    return [(run.state, f"{run.vm_name}: {run.state}") for run in row]


def _bad(row: list[RunRecord]) -> int:
    return sum(1 for run in row if run.state == "failed")


def _first_steps(space: Workspace) -> list[tuple[str, str, str, bool]]:
    """(what, why, where, done) of what a new installation needs."""
    return [
        (
            "Add a vCenter",
            "Its VMs are what is protected.",
            "/vcenters/new",
            bool(job_views.vcenters_seen(space)),
        ),
        (
            "Add a repository",
            "Restore points are kept in it, encrypted.",
            "/repositories/new",
            bool(repositories.listing(space)),
        ),
        (
            "Make a job",
            "It says which VMs, when, and how long to keep them.",
            "/jobs/new",
            bool(jobs.visible(space)),
        ),
        (
            "Wait for the first backup",
            "Or ask the job to run now.",
            "/jobs",
            bool(runs.visible(space, RunFilter(states=("succeeded", "warning"), limit=1))),
        ),
    ]
