"""``/vms``: all virtual machines as a tree and a table, and a page for each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Final, cast, get_args

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from vbm.catalog.jobs import JobRecord
from vbm.catalog.restore_points import PointFilter, PointRecord
from vbm.catalog.runs import RunFilter
from vbm.security.roles import Permission
from vbm.services import fleet, jobs, points, repositories, runs
from vbm.services.fleet import Order, Row, Show, Wanted
from vbm.services.workspace import Workspace
from vbm.vsphere import preflight
from vbm.vsphere.model import DiskVerdict
from vbm.web.access import needs
from vbm.web.pages.marks import distance
from vbm.web.pages.show import Form, back, link, page
from vbm.web.state import Space

router = APIRouter(prefix="/vms")
_STRIP_DAYS: Final = 30
_SHOWN: Final = 60
Text = Annotated[str, Query(max_length=400)]
Count = Annotated[int, Query(ge=0, le=100_000)]


@router.get("", dependencies=[needs(Permission.SEE)])
def list_vms(  # noqa: PLR0917 - a filter a field
    request: Request,
    space: Space,
    vcenter: Text = "",
    folder: Text = "",
    show: Text = "all",
    older: Count = 0,
    q: Text = "",
    sort: Text = "name",
    number: Annotated[int, Query(alias="page", ge=1, le=100_000)] = 1,
) -> Response:
    """Filter, sort and page are in the address, so that a view can be sent to a colleague."""
    wanted = Wanted(
        vcenter=vcenter,
        folder=folder,
        show=cast("Show", show if show in get_args(Show) else "all"),
        older_days=older,
        search=q,
        order=cast("Order", sort if sort in get_args(Order) else "name"),
        page=number,
    )
    found = fleet.fleet(space, wanted)
    current = {"vcenter": vcenter, "folder": folder, "q": q, "older": older}
    current |= {"show": "" if wanted.show == "all" else show, "sort": "" if wanted.order == "name" else sort}
    return page(
        request,
        "vms/list.html",
        found=found,
        wanted=wanted,
        first=_first_line(found),
        url=lambda **change: link("/vms", current, **change),
        now=space.clock.now(),
    )


def _first_line(found: fleet.Fleet) -> str:
    every, without = found.counts["all"], found.counts["unprotected"]
    if not every:
        return "No virtual machine is known."
    said = f"{every - without:,} of {every:,} VMs are protected"
    failing = found.counts["failing"]
    return f"{said}; the last backup of {failing:,} failed." if failing else f"{said}."


@dataclass(frozen=True, slots=True)
class DiskLine:
    """One disk and whether it is in the backups; ``reason`` where it is not, or is with a remark."""

    verdict: DiskVerdict
    left_out_by: tuple[str, ...]

    @property
    def included(self) -> bool:
        return self.verdict.included and not self.left_out_by

    @property
    def reason(self) -> str:
        if self.verdict.included and self.left_out_by:
            return f"left out by {', '.join(self.left_out_by)}"
        return self.verdict.reason


@dataclass(frozen=True, slots=True)
class StripDay:
    """One day of the strip: the restore points that were begun on it."""

    date: date
    points: tuple[PointRecord, ...]


@router.get("/{vm}", dependencies=[needs(Permission.SEE)])
def show_vm(request: Request, space: Space, vm: str) -> Response:
    """One VM: is it protected, by what, and what can be done."""
    row, now = fleet.one(space, vm), space.clock.now()
    uuid = row.machine.vm.instance_uuid
    its_jobs = fleet.jobs_of(space, row.machine)
    found = points.listing(space, PointFilter(vm=uuid, limit=_SHOWN))
    return page(
        request,
        "vms/vm.html",
        row=row,
        sentence=_sentence(row, its_jobs, now),
        jobs=its_jobs,
        points=found,
        strip=_strip(found, now),
        disks=_disks(row, its_jobs),
        remarks=preflight.remarks(row.machine.vm),
        runs=runs.visible(space, RunFilter(vm=uuid, limit=8)),
        repositories=_names(space),
        now=now,
    )


def _names(space: Workspace) -> dict[str, str]:
    return {record.id: record.name for record in repositories.listing(space)}


def _sentence(row: Row, its_jobs: list[JobRecord], now: datetime) -> str:
    """Its protection, in one sentence."""
    vm, last = row.machine.vm, row.machine.last
    if vm.skip_reason and last is None:
        return f"Not protected: {vm.skip_reason}."
    if last is None:
        return "Not protected: no job selects it." if not its_jobs else _waiting(its_jobs, now)
    age = distance((now - last).total_seconds())
    said = f"It can be restored to how it was {age} ago"
    if row.state == "failing":
        return f"{said}, but its last backup failed."
    if not its_jobs:
        return f"{said}, but no job selects it any more."
    if row.next_run is not None:
        return f"{said}; the next backup is in {distance((row.next_run - now).total_seconds())}."
    return f"{said}; its jobs have no schedule."


def _waiting(its_jobs: list[JobRecord], now: datetime) -> str:
    first = its_jobs[0]
    if first.next_run is None:
        return f"Not protected yet: {first.name} has no schedule and has not run."
    return (
        f"Not protected yet: {first.name} backs it up in {distance((first.next_run - now).total_seconds())}."
    )


def _disks(row: Row, its_jobs: list[JobRecord]) -> list[DiskLine]:
    lines = []
    for verdict in row.machine.verdicts:
        excluding = [j.name for j in its_jobs if verdict.disk.key in j.document.get("excluded_disks", ())]
        everywhere = len(excluding) == len(its_jobs)
        lines.append(DiskLine(verdict, tuple(excluding) if everywhere else ()))
    return lines


def _strip(found: list[PointRecord], now: datetime) -> list[StripDay]:
    first = now.date() - timedelta(days=_STRIP_DAYS - 1)
    days = (first + timedelta(days=n) for n in range(_STRIP_DAYS))
    return [StripDay(day, tuple(p for p in found if p.started.date() == day)) for day in days]


@router.post("/{vm}/back-up", dependencies=[needs(Permission.OPERATE)])
def back_up(space: Space, vm: str, form: Form) -> Response:
    """Run one of its jobs for it alone, now."""
    machine = fleet.one(space, vm).machine
    jobs.run_now(space, form.get("job", ""), vms=[machine.vm.instance_uuid])
    return back(f"/vms/{machine.vm.instance_uuid}", "backup-asked")
