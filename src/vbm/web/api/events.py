"""``/events``: a stream that tells open pages when to look again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from vbm.security.roles import Permission
from vbm.services import identity
from vbm.web.access import Door, needs
from vbm.web.news import NEWS_SECONDS
from vbm.web.state import Space, state_of

router = APIRouter(tags=["overview"])


@router.get("/events", dependencies=[needs(Permission.SEE)], response_class=EventSourceResponse)
async def events(
    request: Request,
    space: Space,
    seen: Annotated[str, Query(max_length=40, description="The mark of what is shown already.")] = "",
    last_event_id: Annotated[str, Header(alias="Last-Event-ID", max_length=40)] = "",
) -> AsyncIterator[ServerSentEvent]:
    """How many runs wait and run and how far they are, whenever that changes.

    An event `runs` says that a run came, began or ended, `progress` that runs only went on. Each one's id is a mark of
    what it tells: sent back as `Last-Event-ID` nothing is told that was told before.
    """
    state, who, mark = state_of(request), identity.current(), last_event_id or seen
    door = Door(request, who)
    with state.news.listening(who):
        while not state.stopping.is_set() and not await request.is_disconnected() and await door.is_open():
            found = await state.news.live(space, who)
            if found is not None and found.mark != mark:
                data = {
                    "queued": found.queued,
                    "running": found.running,
                    "bytes_total": found.bytes_total,
                    "bytes_done": found.bytes_done,
                }
                kind = "progress" if found.has_same_runs(mark) else "runs"
                mark = found.mark
                yield ServerSentEvent(data=data, event=kind, id=mark)
            await asyncio.sleep(NEWS_SECONDS)
