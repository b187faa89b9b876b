"""``/vcenters``: where virtual machines are. Passwords go in and never come out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from vbm.catalog.vcenters import VcenterRecord
from vbm.security.roles import Permission
from vbm.services import vcenters
from vbm.services.addresses import parse_address
from vbm.services.documents import vcenter_document
from vbm.services.vcenters import NewVcenter
from vbm.web import outward
from vbm.web.access import needs
from vbm.web.api import etags
from vbm.web.api.etags import IfMatch
from vbm.web.api.paging import Pages, by_name
from vbm.web.api.schemas import Given, Name, Page, Secret, Time
from vbm.web.state import Space, State

router = APIRouter(prefix="/vcenters", tags=["vcenters"])
Thumbprint = Annotated[str, Field(max_length=100, examples=["AA:BB:…"])]


class AddressGiven(Given):
    host: Annotated[str, Field(min_length=1, max_length=300, examples=["vc.example.org"])]


class VcenterGiven(AddressGiven):
    """Trusted by the SHA-256 thumbprint of its certificate; ask `/vcenters/thumbprint` and compare."""

    name: Name
    username: Annotated[str, Field(min_length=1, max_length=300)]
    password: Secret
    thumbprint: Thumbprint


class VcenterChange(Given):
    username: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    password: Secret | None = None
    thumbprint: Thumbprint | None = None


class VcenterShown(BaseModel):
    id: str
    name: str
    host: str
    port: int
    username: str
    thumbprint: str | None
    ca_file: str | None
    product: str
    instance_uuid: str
    created: Time


class Answer(BaseModel):
    ok: bool
    message: str
    hint: str = ""


class ThumbprintShown(BaseModel):
    thumbprint: str


def etag_of(record: VcenterRecord) -> str:
    return etags.tag(record, record.sealed_password)


def _shown(record: VcenterRecord, response: Response) -> dict[str, Any]:
    response.headers["ETag"] = etag_of(record)
    return vcenter_document(record)


@router.get("", dependencies=[needs(Permission.SEE)], response_model=Page[VcenterShown])
def list_vcenters(space: Space, paging: Pages) -> dict[str, Any]:
    """Those that who asks may see, by name."""
    return paging.slice(
        vcenters.visible(space), lambda record: by_name(record.name, record.id), vcenter_document
    )


@router.post("/thumbprint", dependencies=[needs(Permission.MANAGE)], response_model=ThumbprintShown)
def ask_thumbprint(state: State, given: AddressGiven) -> dict[str, str]:
    """The thumbprint of the certificate that answers there, to be compared with the real one. It proves nothing."""
    outward.check(state.options, *parse_address(given.host))
    return {"thumbprint": vcenters.server_thumbprint(given.host)}


@router.post("", status_code=201, dependencies=[needs(Permission.MANAGE)], response_model=VcenterShown)
def add_vcenter(state: State, given: VcenterGiven, response: Response) -> dict[str, Any]:
    """Log in, and remember it if that worked."""
    outward.check(state.options, *parse_address(given.host))
    new = NewVcenter(given.name, given.host, given.username, given.password, given.thumbprint)
    record = vcenters.add(state.workspace, new)
    response.headers["Location"] = f"/api/v1/vcenters/{record.id}"
    return _shown(record, response)


@router.get("/{vcenter}", dependencies=[needs(Permission.SEE)], response_model=VcenterShown)
def get_vcenter(space: Space, vcenter: str, response: Response) -> dict[str, Any]:
    """The vCenter of that id or name."""
    return _shown(vcenters.seen(space, vcenter), response)


@router.patch("/{vcenter}", dependencies=[needs(Permission.MANAGE)], response_model=VcenterShown)
def change_vcenter(
    space: Space, vcenter: str, given: VcenterChange, response: Response, if_match: IfMatch = ""
) -> dict[str, Any]:
    """Another account, password or certificate; kept only if the login works."""
    changed = vcenters.change(
        space,
        vcenter,
        given.username or "",
        given.password or "",
        given.thumbprint or "",
        etags.unless_changed(if_match, etag_of),
    )
    return _shown(changed, response)


@router.delete("/{vcenter}", status_code=204, dependencies=[needs(Permission.MANAGE)])
def remove_vcenter(space: Space, vcenter: str, if_match: IfMatch = "") -> None:
    """Forget it and its password; restore points stay. Refused while a job uses it."""
    vcenters.remove(space, vcenter, etags.unless_changed(if_match, etag_of, needed=False))


@router.post("/{vcenter}/test", dependencies=[needs(Permission.OPERATE)], response_model=Answer)
def test_vcenter(space: Space, vcenter: str) -> dict[str, Any]:
    """Connect and log in."""
    return vcenters.answer(space, vcenters.seen(space, vcenter).name)
