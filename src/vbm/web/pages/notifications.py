"""``/notifications``: where people are told: list, add, test, remove. Addresses go in and never come out."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from vbm.errors import InputError, VbmError
from vbm.policy.job import DEFAULT_EVENTS, EVENTS
from vbm.security.roles import Permission
from vbm.services import channels
from vbm.services.channels import NewChannel
from vbm.web import outward
from vbm.web.access import needs
from vbm.web.pages.show import Fields, Form, again, back, page
from vbm.web.state import Space, State

router = APIRouter(prefix="/notifications", dependencies=[needs(Permission.MANAGE)])
WORDS = {
    "success": "A backup succeeded",
    "warning": "A backup ended with warnings",
    "failure": "A backup failed",
    "snapshot_left": "A snapshot was left behind",
    "snapshot_gone": "A snapshot left behind is gone",
    "repository_full": "A repository is nearly full",
    "replication_failed": "A replication failed",
    "verify_failed": "A verification found damage",
    "schedule_missed": "A job missed its time",
}


def _events() -> list[tuple[str, str]]:
    return [(event, WORDS.get(event, event.replace("_", " "))) for event in EVENTS]


@router.get("")
def list_channels(request: Request, space: Space) -> Response:
    found = channels.listing(space)
    last = {record.id: next(iter(channels.messages(space, record.id, 1)), None) for record in found}
    return page(request, "notifications/list.html", channels=found, last=last, words=WORDS)


@router.get("/new")
def ask_new(request: Request) -> Response:
    given = {"name": "", "kind": "apprise", "on": list(DEFAULT_EVENTS)}
    return page(request, "notifications/new.html", given=given, events=_events())


@router.post("/new")
def add(request: Request, state: State, form: Form, fields: Fields) -> Response:
    """Remember a channel; nothing is sent yet."""
    on = [value for name, value in fields if name == "on"]
    url, kind = form.get("url", "").strip(), form.get("kind", "apprise")
    try:
        if not url:
            raise InputError("the address is empty", hint="write it like mailto://… or https://…")
        outward.check_url(state.options, url)
        new = NewChannel(
            form.get("name", ""),
            url,
            kind,
            form.get("secret", ""),
            on,
            allow_loopback=state.options.allow_loopback,
        )
        record = channels.add(state.workspace, new)
    except VbmError as error:
        given = {"name": form.get("name", ""), "kind": kind, "on": on}
        return again(request, "notifications/new.html", error, given=given, events=_events())
    return back(f"/notifications/{record.id}", "channel-added")


@router.get("/{channel}")
def show_channel(request: Request, space: Space, channel: str) -> Response:
    record = channels.get(space, channel)
    return page(
        request,
        "notifications/channel.html",
        channel=record,
        messages=channels.messages(space, record.id),
        words=WORDS,
        now=space.clock.now(),
    )


@router.post("/{channel}/test")
def test(request: Request, space: Space, channel: str) -> Response:
    """Send a real message now."""
    record = channels.get(space, channel)
    try:
        channels.test(space, record.name)
    except VbmError as error:
        return again(
            request,
            "notifications/channel.html",
            error,
            channel=record,
            messages=channels.messages(space, record.id),
            words=WORDS,
            now=space.clock.now(),
        )
    return back(f"/notifications/{record.id}", "message-sent")


@router.get("/{channel}/remove")
def ask_remove(request: Request, space: Space, channel: str) -> Response:
    return page(request, "notifications/remove.html", channel=channels.get(space, channel))


@router.post("/{channel}/remove")
def remove(space: Space, channel: str) -> Response:
    channels.remove(space, channels.get(space, channel).id)
    return back("/notifications", "channel-removed")
