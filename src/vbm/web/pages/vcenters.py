"""``/vcenters``: list, add with the thumbprint shown and confirmed, test, remove."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from vbm.errors import InputError, VbmError
from vbm.security.roles import Permission
from vbm.services import identity, inventory_cache, jobs, vcenters
from vbm.services.addresses import parse_address
from vbm.services.vcenters import NewVcenter
from vbm.vsphere.tls import show_thumbprint
from vbm.web import outward
from vbm.web.access import needs
from vbm.web.pages.show import Form, again, back, page
from vbm.web.state import Space, State

router = APIRouter(prefix="/vcenters")


@router.get("", dependencies=[needs(Permission.SEE)])
def list_vcenters(request: Request, space: Space) -> Response:
    """With how each answered when it was last asked."""
    seen = inventory_cache.everything(space)
    return page(request, "vcenters/list.html", seen=seen, silent=[s for s in seen if s.problem])


@router.get("/new", dependencies=[needs(Permission.MANAGE)])
def ask_new(request: Request) -> Response:
    return page(request, "vcenters/new.html", given={}, thumbprint="")


@router.post("/new", dependencies=[needs(Permission.MANAGE)])
def look(request: Request, state: State, form: Form) -> Response:
    """First step: whose certificate answers there. Nothing is sent to it."""
    given = {"name": form.get("name", ""), "host": form.get("host", "")}
    try:
        vcenters.check_new(state.workspace, given["name"], given["host"])
        outward.check(state.options, *parse_address(given["host"]))
        thumbprint = vcenters.server_thumbprint(given["host"])
    except VbmError as error:
        return again(request, "vcenters/new.html", error, given=given, thumbprint="")
    return page(request, "vcenters/new.html", given=given, thumbprint=thumbprint)


@router.post("/add", dependencies=[needs(Permission.MANAGE)])
def add(request: Request, state: State, form: Form) -> Response:
    """Second step, with the thumbprint confirmed: log in, and remember it if that worked."""
    given = {field: form.get(field, "") for field in ("name", "host", "username")}
    thumbprint = form.get("thumbprint", "")
    try:
        if form.get("confirmed") != "yes":
            raise InputError(
                "the thumbprint is not confirmed",
                hint="compare it with the certificate in the vSphere Client",
            )
        outward.check(state.options, *parse_address(given["host"]))
        new = NewVcenter(
            given["name"], given["host"], given["username"], form.get("password", ""), thumbprint
        )
        record = vcenters.add(state.workspace, new)
    except VbmError as error:
        return again(request, "vcenters/new.html", error, given=given, thumbprint=thumbprint)
    inventory_cache.forget()
    return back(f"/vcenters/{record.id}", "vcenter-added")


@router.get("/{vcenter}", dependencies=[needs(Permission.SEE)])
def show_vcenter(request: Request, space: Space, vcenter: str) -> Response:
    record = vcenters.seen(space, vcenter)
    seen = next(s for s in inventory_cache.everything(space) if s.vcenter.id == record.id)
    return page(
        request,
        "vcenters/vcenter.html",
        vcenter=record,
        seen=seen,
        thumbprint=show_thumbprint(record.thumbprint) if record.thumbprint else "",
        jobs=[job for job in jobs.visible(space) if job.vcenter_id == record.id],
        now=space.clock.now(),
    )


@router.post("/{vcenter}/test", dependencies=[needs(Permission.OPERATE)])
def test(request: Request, space: Space, vcenter: str) -> Response:
    """Connect and log in, now."""
    record = vcenters.seen(space, vcenter)
    answer = vcenters.answer(space, record.name)
    inventory_cache.forget()
    return page(request, "vcenters/tested.html", vcenter=record, answer=answer)


@router.get("/{vcenter}/change", dependencies=[needs(Permission.MANAGE)])
def ask_change(request: Request, space: Space, vcenter: str) -> Response:
    return page(request, "vcenters/change.html", vcenter=vcenters.seen(space, vcenter))


@router.post("/{vcenter}/change", dependencies=[needs(Permission.MANAGE)])
def change(request: Request, space: Space, vcenter: str, form: Form) -> Response:
    """Another account, password or certificate; kept only if the login works."""
    record = vcenters.seen(space, vcenter)
    try:
        vcenters.change(
            space,
            record.id,
            form.get("username", ""),
            form.get("password", ""),
            form.get("thumbprint", "").strip(),
        )
    except VbmError as error:
        return again(request, "vcenters/change.html", error, vcenter=record)
    inventory_cache.forget()
    return back(f"/vcenters/{record.id}", "vcenter-changed")


@router.get("/{vcenter}/remove", dependencies=[needs(Permission.MANAGE)])
def ask_remove(request: Request, space: Space, vcenter: str) -> Response:
    identity.require(Permission.MANAGE)
    return page(request, "vcenters/remove.html", vcenter=vcenters.seen(space, vcenter))


@router.post("/{vcenter}/remove", dependencies=[needs(Permission.MANAGE)])
def remove(request: Request, space: Space, vcenter: str) -> Response:
    record = vcenters.seen(space, vcenter)
    try:
        vcenters.remove(space, record.id)
    except VbmError as error:
        return again(request, "vcenters/remove.html", error, vcenter=record)
    inventory_cache.forget()
    return back("/vcenters", "vcenter-removed")
