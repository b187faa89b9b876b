"""``/search``: VMs, jobs, runs and restore points by name or id, from the top bar of every page."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from vbm.catalog.jobs import JobRecord
from vbm.catalog.restore_points import PointRecord
from vbm.catalog.runs import RunFilter, RunRecord
from vbm.errors import VbmError
from vbm.security.roles import Permission
from vbm.services import jobs, points, protected, runs
from vbm.services.workspace import Workspace
from vbm.web.access import needs
from vbm.web.pages.shell import page
from vbm.web.state import Space

router = APIRouter(prefix="/search")
_MOST: Final = 20


@router.get("", dependencies=[needs(Permission.SEE)])
def search(request: Request, space: Space, q: Annotated[str, Query(max_length=200)] = "") -> Response:
    """An id leads to its page at once."""
    wanted = q.strip()
    if not wanted:
        return page(request, "search.html", q="", vms=[], jobs=[], runs=[])
    run, point = _run(space, wanted), _point(space, wanted)
    if run is not None:
        return RedirectResponse(f"/runs/{run.id}", 303)
    if point is not None:
        return RedirectResponse(f"/restore-points/{point.id}?repository={point.repository_id}", 303)
    vms = [
        machine
        for machine in protected.machines(space)
        if wanted.casefold() in machine.vm.name.casefold() or wanted.casefold() == machine.vm.instance_uuid
    ]
    return page(
        request,
        "search.html",
        q=wanted,
        vms=vms[:_MOST],
        more_vms=len(vms) - _MOST,
        jobs=_jobs(space, wanted),
        runs=_runs_of(space, [machine.vm.name for machine in vms[:3]] or [wanted]),
    )


def _jobs(space: Workspace, wanted: str) -> list[JobRecord]:
    found = [job for job in jobs.visible(space) if wanted.casefold() in job.name.casefold()]
    return found[:_MOST]


def _runs_of(space: Workspace, names: list[str]) -> list[RunRecord]:
    """The last runs of those VMs, which may be gone from their vCenter."""
    found = [run for name in names for run in runs.visible(space, RunFilter(vm=name, limit=5))]
    return sorted(found, key=lambda run: run.id, reverse=True)[:10]


def _run(space: Workspace, wanted: str) -> RunRecord | None:
    """Ids begin with a digit, names of VMs that are as long seldom do."""
    if len(wanted) < 10 or not wanted[:8].isdigit():
        return None
    try:
        return runs.get(space, wanted)
    except VbmError:
        return None


def _point(space: Workspace, wanted: str) -> PointRecord | None:
    if len(wanted) < 10 or not wanted[:8].isdigit():
        return None
    try:
        return points.get(space, wanted)
    except VbmError:
        return None
