"""``/jobs``: what is protected, when, where to and how long."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import urlencode
from zoneinfo import available_timezones

from fastapi import APIRouter, Query, Request
from fastapi import Form as FormField
from fastapi.responses import RedirectResponse, Response

from vbm.catalog.jobs import JobRecord
from vbm.catalog.runs import RunFilter
from vbm.errors import InputError, VbmError
from vbm.policy import words
from vbm.policy.job import EVENTS
from vbm.security.roles import Permission
from vbm.services import channels, identity, job_views, jobs, repositories, runs
from vbm.services.job_views import JobView
from vbm.services.workspace import Workspace
from vbm.web.access import needs
from vbm.web.api.etags import unless_changed
from vbm.web.api.jobs import etag_of
from vbm.web.pages import job_form
from vbm.web.pages.fields import Fields
from vbm.web.pages.shell import page
from vbm.web.problems import status_of
from vbm.web.state import Space

router = APIRouter(prefix="/jobs")
PAGE: Final = 50
SHOWS: Final = (("", "All"), ("failing", "Last run failed"), ("off", "Off"))
_MANAGE = [needs(Permission.MANAGE)]
_TOP_ZONES: Final = tuple(sorted(zone for zone in available_timezones() if "/" in zone or zone == "UTC"))


@router.get("", dependencies=[needs(Permission.SEE)])
def list_jobs(
    request: Request,
    space: Space,
    q: Annotated[str, Query(max_length=200)] = "",
    show: str = "",
    after: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """By name; ``after`` is the name that the page before ended with."""
    every = jobs.visible(space)
    fitting = [record for record in every if q.casefold() in record.name.casefold() and _fits(record, show)]
    rest = [record for record in fitting if record.name.casefold() > after.casefold()] if after else fitting
    shown = rest[:PAGE]
    query = {name: value for name, value in (("q", q), ("show", show)) if value}
    following = urlencode(query | {"after": shown[-1].name}) if len(rest) > PAGE else ""
    return page(
        request,
        "jobs/list.html",
        every=every,
        views=job_views.views(space, shown),
        fitting=len(fitting),
        wanted={"q": q, "show": show, "after": after},
        counts={key: sum(1 for record in every if _fits(record, key)) for key, _ in SHOWS},
        first=f"/jobs?{urlencode(query)}" if after else "",
        following=f"/jobs?{following}" if following else "",
        shows=SHOWS,
        words=words,
    )


def _fits(record: JobRecord, show: str) -> bool:
    if show == "failing":
        return record.last_state == "failed"
    return show != "off" or not record.enabled


@router.get("/new", dependencies=_MANAGE)
def ask_new(request: Request, space: Space, vm: Annotated[str, Query(max_length=400)] = "") -> Response:
    """An empty form, or one that names a VM."""
    given = job_form.FRESH | {"name": vm, "vms": vm}
    return _form(request, space, given, None)


@router.post("/new", dependencies=_MANAGE)
def create(request: Request, space: Space, fields: Fields) -> Response:
    try:
        record = jobs.create(space, job_form.document(fields))
    except VbmError as error:
        return _form(request, space, job_form.typed(fields), None, error)
    return RedirectResponse(f"/jobs/{record.id}?done=created", 303)


@router.post("/preview", dependencies=_MANAGE)
def preview(request: Request, space: Space, fields: Fields) -> Response:
    """What the form's job would do: the parts of the form that say so."""
    try:
        document = job_form.document(fields)
        blank = {name: document[name] or "?" for name in ("name", "vcenter_id", "repository_id")}
        found = job_views.preview(space, document | blank)
    except VbmError as error:
        return page(request, "jobs/_preview.html", found=None, problem=error)
    return page(request, "jobs/_preview.html", found=found, problem=None)


@router.get("/{job}", dependencies=[needs(Permission.SEE)])
def show_job(request: Request, space: Space, job: str) -> Response:
    """What it protects, how it went and what comes next."""
    record = jobs.get(space, job)
    view = job_views.views(space, [record])[0]
    return page(
        request,
        "jobs/job.html",
        view=view,
        runs=runs.visible(space, RunFilter(job_id=record.id, limit=20)),
        upcoming=jobs.upcoming(record, space.clock.now()),
        channels={channel.id: channel.name for channel in _channels(space)},
        simulated=job_views.simulated(view.job, space.clock.now())[-120:],
        words=words,
    )


@router.get("/{job}/edit", dependencies=_MANAGE)
def ask_change(request: Request, space: Space, job: str) -> Response:
    record = jobs.get(space, job)
    return _form(request, space, job_form.values(record.document | {"enabled": record.enabled}), record)


@router.post("/{job}/edit", dependencies=_MANAGE)
def change(request: Request, space: Space, job: str, fields: Fields) -> Response:
    """Only where nobody changed it since the form was opened."""
    record = jobs.get(space, job)
    try:
        condition = unless_changed(dict(fields).get("etag") or "none", etag_of)
        jobs.update(space, record.id, job_form.document(fields), condition)
    except VbmError as error:
        return _form(request, space, job_form.typed(fields), record, error)
    return RedirectResponse(f"/jobs/{record.id}?done=changed", 303)


@router.post("/{job}/run", dependencies=[needs(Permission.OPERATE)])
def run_now(space: Space, job: str, vm: Annotated[str, FormField(max_length=400)] = "") -> Response:
    """All of its VMs, or one."""
    record, execution = jobs.run_now(space, job, vms=(vm,) if vm else ())
    return RedirectResponse(f"/jobs/{record.id}?done=asked&execution={execution}", 303)


@router.post("/{job}/enabled", dependencies=_MANAGE)
def set_enabled(space: Space, job: str, on: Annotated[str, FormField()] = "") -> Response:
    record = jobs.update(space, job, {"enabled": on == "yes"})
    return RedirectResponse(f"/jobs/{record.id}?done={'on' if record.enabled else 'off'}", 303)


@router.post("/{job}/cancel", dependencies=[needs(Permission.OPERATE)])
def cancel(space: Space, job: str) -> Response:
    """Every run of it that has not ended."""
    record = jobs.get(space, job)
    runs.cancel_all(space, record.id)
    return RedirectResponse(f"/jobs/{record.id}?done=cancelled", 303)


@router.post("/{job}/delete", dependencies=_MANAGE)
def delete(space: Space, job: str, typed: Annotated[str, FormField(max_length=400)] = "") -> Response:
    """With its name typed."""
    record = jobs.get(space, job)
    if typed.strip() != record.name:
        raise InputError("the name that was typed is not the job's", hint=f"type it exactly: {record.name}")
    jobs.delete(space, record.id)
    return RedirectResponse("/jobs?done=deleted", 303)


def _channels(space: Workspace) -> list[Any]:
    allowed = identity.current().role == "admin"
    return list(channels.listing(space)) if allowed else []


def _form(
    request: Request,
    space: Workspace,
    given: job_form.Values,
    record: JobRecord | None,
    problem: VbmError | None = None,
) -> Response:
    return page(
        request,
        "jobs/form.html",
        status_of(problem) if problem else 200,
        given=given,
        record=record,
        etag=given.get("etag") or (etag_of(record) if record else ""),
        problem=problem,
        vcenters=[(one.id, one.name) for one in job_views.vcenters_seen(space)],
        repositories=[(one.id, one.name) for one in repositories.listing(space)],
        channels=_channels(space),
        events=EVENTS,
        zones=_TOP_ZONES,
        often=job_form.OFTEN,
        weekdays=job_form.WEEKDAYS,
        unfit=record is not None and job_form.unfit(record.document),
    )


def view_sentence(view: JobView) -> str:
    """The job in one sentence."""
    count = "an unknown number of VMs" if view.machines is None else f"{view.machines:,} VMs"
    return f"Protects {count}, {words.schedule_words(view.job.schedule)}; {words.retention_words(view.job.rules)}."
