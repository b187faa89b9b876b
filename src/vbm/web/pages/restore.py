"""``/restore``: from a VM to a running restore in five steps, everything chosen so far in the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from vbm.catalog.restore_points import PointFilter
from vbm.errors import VbmError
from vbm.security.roles import Permission
from vbm.services import point_runs, points, restore_choices, vcenters
from vbm.services.restore_choices import IN_PLACE, NEW, Source
from vbm.services.workspace import Workspace
from vbm.vsphere.restore_places import DatacenterPlaces
from vbm.vsphere.restore_spec import RestoreSpec
from vbm.web.access import needs
from vbm.web.pages.points import NameNotTypedError, fitting, names
from vbm.web.pages.show import Fields, Form, again, page
from vbm.web.pages.show import back as see
from vbm.web.state import Space

router = APIRouter(prefix="/restore")
STEPS: Final = ("VM", "Restore point", "What", "Where", "Review")
_NETWORK: Final = "network:"
_LISTED: Final = 200
Text = Annotated[str, Query(max_length=400)]


def _wizard(request: Request, template: str, step: int, /, **context: Any) -> Response:
    return page(request, template, steps=STEPS, step=step, **context)


@router.get("", dependencies=[needs(Permission.OPERATE)])
def choose_vm(request: Request, space: Space, q: Text = "") -> Response:
    """Step 1. VMs that are gone from their vCenter are there too."""
    every = points.owners(space)
    found = fitting(every, q)
    return _wizard(
        request,
        "restore/vm.html",
        0,
        every=len(every),
        found=points.summaries(space, found[:_LISTED]),
        hidden=len(found) - _LISTED,
        q=q,
        now=space.clock.now(),
    )


@router.get("/vm/{vm}", dependencies=[needs(Permission.OPERATE)])
def choose_point(request: Request, space: Space, vm: str) -> Response:
    """Step 2."""
    found = points.listing(space, PointFilter(vm=vm, limit=_LISTED))
    return _wizard(
        request,
        "restore/point.html",
        1,
        vm=vm,
        name=found[0].vm_name if found else vm,
        points=found,
        repositories=names(space),
        now=space.clock.now(),
    )


@router.get("/point/{point}", dependencies=[needs(Permission.OPERATE)])
def choose_way(request: Request, space: Space, point: str, repository: Text = "") -> Response:
    """Step 3: what isn't possible is shown with its reason."""
    found = restore_choices.source(space, point, repository)
    return _wizard(
        request,
        "restore/way.html",
        2,
        found=found,
        ways=restore_choices.ways(found),
        now=space.clock.now(),
    )


@router.get("/point/{point}/new", dependencies=[needs(Permission.OPERATE)])
def choose_place(
    request: Request, space: Space, point: str, repository: Text = "", vcenter: Text = ""
) -> Response:
    """Step 4 of a new VM: what is there is asked of the vCenter, and what can't be chosen says why."""
    found = restore_choices.source(space, point, repository)
    spec = RestoreSpec(name=f"{found.point.vm_name}-restored"[:80])
    return _where(request, space, found, vcenter, spec)


def _where(
    request: Request,
    space: Workspace,
    found: Source,
    vcenter: str,
    spec: RestoreSpec,
    wrong: Sequence[str] = (),
) -> Response:
    known = vcenters.visible(space)
    chosen = next(
        (v for v in known if v.name == (vcenter or found.point.vcenter)), known[0] if known else None
    )
    there: tuple[DatacenterPlaces, ...] = ()
    problem = None
    if chosen is not None:
        try:
            there = restore_choices.destinations(space, chosen.name)
        except VbmError as error:
            problem = error
    return _wizard(
        request,
        "restore/where.html",
        3,
        found=found,
        vcenters=known,
        vcenter=chosen,
        there=there,
        spec=spec,
        wrong=wrong,
        problem=problem,
        now=space.clock.now(),
    )


def _spec(found: Source, fields: Sequence[tuple[str, str]]) -> RestoreSpec:
    given: Mapping[str, str] = dict(fields)
    mapped = {
        name.removeprefix(_NETWORK): value for name, value in fields if name.startswith(_NETWORK) and value
    }
    spec = RestoreSpec(
        name=given.get("name", "").strip(),
        datastore=given.get("datastore", ""),
        host=given.get("host", ""),
        folder=given.get("folder", ""),
        datacenter=given.get("datacenter", ""),
        network_map=mapped,
        power_on=given.get("power_on") == "yes",
        connect_networks=given.get("connect", "yes") == "yes",
        in_place=given.get("way") == IN_PLACE,
    )
    return replace(spec, name=found.point.vm_name) if spec.in_place else spec


@router.post("/point/{point}/review", dependencies=[needs(Permission.OPERATE)])
def review(request: Request, space: Space, point: str, form: Form, fields: Fields) -> Response:
    """Step 5: in plain words exactly what will happen. Nothing is begun."""
    found = restore_choices.source(space, point, form.get("repository", ""))
    spec, vcenter = _spec(found, fields), form.get("vcenter", "") or found.point.vcenter
    there = () if spec.in_place else restore_choices.destinations(space, vcenter)
    wrong = restore_choices.check(found, spec, there)
    if wrong and not spec.in_place and form.get("anyway") != "yes":
        return _where(request, space, found, vcenter, spec, wrong)
    return _review(request, found, spec, vcenter, fields, wrong)


def _review(  # noqa: PLR0917 - what a review is made of
    request: Request,
    found: Source,
    spec: RestoreSpec,
    vcenter: str,
    fields: Sequence[tuple[str, str]],
    wrong: Sequence[str] = (),
    error: VbmError | None = None,
) -> Response:
    context: dict[str, Any] = {
        "steps": STEPS,
        "step": 4,
        "found": found,
        "spec": spec,
        "vcenter": vcenter,
        "way": IN_PLACE if spec.in_place else NEW,
        "said": restore_choices.review(found, spec, vcenter),
        "wrong": wrong,
        "fields": [(name, value) for name, value in fields if name not in {"csrf", "typed", "anyway"}],
    }
    if error is not None:
        return again(request, "restore/review.html", error, **context)
    return page(request, "restore/review.html", **context)


@router.post("/point/{point}/start", dependencies=[needs(Permission.OPERATE)])
def start(request: Request, space: Space, point: str, form: Form, fields: Fields) -> Response:
    """Begin; the browser goes on to the page of the run."""
    found = restore_choices.source(space, point, form.get("repository", ""))
    spec, vcenter = _spec(found, fields), form.get("vcenter", "") or found.point.vcenter
    try:
        if spec.in_place and form.get("typed", "").strip() != found.point.vm_name.strip():
            raise NameNotTypedError(
                "the name that was typed is not the VM's", hint=f"type it exactly: {found.point.vm_name}"
            )
        run = point_runs.restore(space, found.point, vcenter, spec)
    except VbmError as error:
        return _review(request, found, spec, vcenter, fields, error=error)
    return see(f"/runs/{run.id}")
