"""``/notification-channels``: where people are told. Addresses and secrets go in and never come out."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from vbm.errors import VbmError
from vbm.policy.job import DEFAULT_EVENTS
from vbm.security.roles import Permission
from vbm.services import channels
from vbm.services.channels import NewChannel
from vbm.services.documents import channel_document
from vbm.web import outward
from vbm.web.access import needs
from vbm.web.api.schemas import Given, Name, Page, Secret
from vbm.web.api.vcenters import Answer
from vbm.web.state import Space, State

router = APIRouter(
    prefix="/notification-channels", tags=["channels"], dependencies=[needs(Permission.MANAGE)]
)


class ChannelGiven(Given):
    name: Name
    url: Annotated[
        str, Field(min_length=1, max_length=2000, json_schema_extra={"writeOnly": True, "format": "password"})
    ]
    kind: Literal["apprise", "webhook"] = "apprise"
    secret: Secret = ""
    on: list[str] = Field(list(DEFAULT_EVENTS))


class ChannelShown(BaseModel):
    id: str
    name: str
    kind: str
    address: str
    on: list[str]
    created: str


@router.get("", response_model=Page[ChannelShown])
def list_channels(space: Space) -> dict[str, Any]:
    """Every channel, by name."""
    return {"items": [channel_document(record) for record in channels.listing(space)], "next_cursor": None}


@router.post("", status_code=201, response_model=ChannelShown)
def add_channel(state: State, given: ChannelGiven, response: Response) -> dict[str, Any]:
    """Remember a channel; nothing is sent yet."""
    parts = urlsplit(given.url)
    if parts.hostname:
        outward.check(state.options, parts.hostname, parts.port or 443)
    new = NewChannel(
        given.name, given.url, given.kind, given.secret, given.on, allow_loopback=state.options.allow_loopback
    )
    record = channels.add(state.workspace, new)
    response.headers["Location"] = f"/api/v1/notification-channels/{record.id}"
    return channel_document(record)


@router.get("/{channel}", response_model=ChannelShown)
def get_channel(space: Space, channel: str) -> dict[str, Any]:
    """The channel of that id or name."""
    return channel_document(channels.get(space, channel))


@router.delete("/{channel}", status_code=204)
def remove_channel(space: Space, channel: str) -> None:
    """Forget it; what waits for it is not sent."""
    channels.remove(space, channel)


@router.post("/{channel}/test", response_model=Answer)
def test_channel(space: Space, channel: str) -> dict[str, Any]:
    """Send a real message now."""
    record = channels.get(space, channel)
    try:
        channels.test(space, record.name)
    except VbmError as error:
        return {"ok": False, "message": error.message, "hint": error.hint}
    return {"ok": True, "message": "The message was sent.", "hint": ""}
