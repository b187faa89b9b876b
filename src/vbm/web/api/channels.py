"""``/notification-channels``: where people are told. Addresses and secrets go in and never come out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from vbm.catalog.channels import ChannelRecord
from vbm.errors import VbmError
from vbm.policy.job import DEFAULT_EVENTS
from vbm.security.roles import Permission
from vbm.services import channels
from vbm.services.channels import ChannelChange, NewChannel
from vbm.services.documents import channel_document
from vbm.web import outward
from vbm.web.access import needs
from vbm.web.api import etags
from vbm.web.api.etags import IfMatch
from vbm.web.api.paging import Pages, by_name
from vbm.web.api.schemas import Given, Name, Page, Secret, Time
from vbm.web.api.vcenters import Answer
from vbm.web.state import Space, State

router = APIRouter(
    prefix="/notification-channels", tags=["channels"], dependencies=[needs(Permission.MANAGE)]
)


ChannelUrl = Annotated[
    str,
    Field(
        max_length=2000,
        pattern=r"^[A-Za-z][A-Za-z0-9+.-]*://[^\s]+$",
        json_schema_extra={"writeOnly": True, "format": "password"},
    ),
]


class ChannelGiven(Given):
    """An Apprise address, or `https://…` with `kind: "webhook"`. ``on``: what it is told of every job."""

    name: Name
    url: ChannelUrl
    kind: Literal["apprise", "webhook"] = "apprise"
    secret: Secret = ""
    on: list[str] = Field(list(DEFAULT_EVENTS))


class ChannelPatch(Given):
    """What is left out stays. An empty ``secret``: no signature any more."""

    name: Name | None = None
    url: ChannelUrl | None = None
    secret: Secret | None = None
    on: list[str] | None = None


class ChannelShown(BaseModel):
    id: str
    name: str
    kind: str
    address: str
    on: list[str]
    created: Time


def etag_of(record: ChannelRecord) -> str:
    return etags.tag(record, record.sealed_url, record.sealed_secret)


def _shown(record: ChannelRecord, response: Response) -> dict[str, Any]:
    response.headers["ETag"] = etag_of(record)
    return channel_document(record)


@router.get("", response_model=Page[ChannelShown])
def list_channels(space: Space, paging: Pages) -> dict[str, Any]:
    """Every channel, by name."""
    found = channels.listing(space)
    return paging.slice(found, lambda record: by_name(record.name, record.id), channel_document)


@router.post("", status_code=201, response_model=ChannelShown)
def add_channel(state: State, given: ChannelGiven, response: Response) -> dict[str, Any]:
    """Remember a channel; nothing is sent yet."""
    outward.check_url(state.options, given.url)
    new = NewChannel(
        given.name, given.url, given.kind, given.secret, given.on, allow_loopback=state.options.allow_loopback
    )
    record = channels.add(state.workspace, new)
    response.headers["Location"] = f"/api/v1/notification-channels/{record.id}"
    return _shown(record, response)


@router.get("/{channel}", response_model=ChannelShown)
def get_channel(space: Space, channel: str, response: Response) -> dict[str, Any]:
    """The channel of that id or name."""
    return _shown(channels.get(space, channel), response)


@router.patch("/{channel}", response_model=ChannelShown)
def change_channel(
    state: State, channel: str, given: ChannelPatch, response: Response, if_match: IfMatch = ""
) -> dict[str, Any]:
    """Another name, address, secret or choice of events; nothing is sent yet."""
    if given.url is not None:
        outward.check_url(state.options, given.url)
    wanted = ChannelChange(given.name, given.url, given.secret, given.on)
    condition = etags.unless_changed(if_match, etag_of)
    return _shown(channels.change(state.workspace, channel, wanted, condition), response)


@router.delete("/{channel}", status_code=204)
def remove_channel(space: Space, channel: str, if_match: IfMatch = "") -> None:
    """Forget it; what waits for it is not sent."""
    channels.remove(space, channel, etags.unless_changed(if_match, etag_of, needed=False))


@router.post("/{channel}/test", response_model=Answer)
def test_channel(space: Space, channel: str) -> dict[str, Any]:
    """Send a real message now."""
    record = channels.get(space, channel)
    try:
        channels.test(space, record.name)
    except VbmError as error:
        return {"ok": False, "message": error.message, "hint": error.hint}
    return {"ok": True, "message": "The message was sent.", "hint": ""}
