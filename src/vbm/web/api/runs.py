"""``/runs``: what workers have done and are doing, live while it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from vbm.catalog.runs import ENDED, RunFilter
from vbm.security.roles import Permission
from vbm.services import identity, jobs, repositories, runs, vcenters
from vbm.services.documents import run_document, when
from vbm.services.workspace import Workspace
from vbm.web.access import Door, needs
from vbm.web.api.moments import Moment
from vbm.web.api.paging import LongPages, Pages
from vbm.web.api.schemas import LogLineShown, Page, RunShown
from vbm.web.feed import LOOK_SECONDS
from vbm.web.state import Space, state_of

router = APIRouter(prefix="/runs", tags=["runs"])
Kind = Literal["backup", "restore", "verify", "check", "gc"]
State = Literal["queued", "running", "succeeded", "warning", "failed", "cancelled"]
_LOOK_ANYWAY: Final = 20  # rounds


@router.get("", dependencies=[needs(Permission.SEE)], response_model=Page[RunShown])
def list_runs(
    space: Space,
    paging: Pages,
    *,
    state: Annotated[list[State] | None, Query()] = None,
    kind: Annotated[list[Kind] | None, Query()] = None,
    job: Annotated[str, Query(max_length=200, description="Name or id.")] = "",
    vm: Annotated[str, Query(max_length=400, description="Name or instance UUID.")] = "",
    vcenter: Annotated[str, Query(max_length=200, description="Name or id.")] = "",
    repository: Annotated[str, Query(max_length=200, description="Name or id.")] = "",
    execution: Annotated[str, Query(max_length=40, description="Of that time that a job was run.")] = "",
    since: Annotated[Moment | None, Query(description="Asked for then or later.")] = None,
    until: Annotated[Moment | None, Query(description="Asked for before then.")] = None,
) -> dict[str, Any]:
    """The newest first."""
    wanted = RunFilter(
        states=state or (),
        kinds=kind or (),
        job_id=jobs.get(space, job).id if job else "",
        vm=vm,
        vcenters=(vcenters.seen(space, vcenter).id,) if vcenter else (),
        repository_id=repositories.get(space, repository).id if repository else "",
        execution_id=execution,
        since=since,
        until=until,
        before=paging.after,
        limit=paging.limit + 1,
    )
    found = runs.visible(space, wanted)
    return paging.page(found, lambda record: record.id, lambda record: run_document(record, space.clock))


@router.get("/{run}", dependencies=[needs(Permission.SEE)], response_model=RunShown)
def get_run(space: Space, run: str) -> dict[str, Any]:
    """How far it is, or how it ended."""
    return run_document(runs.get(space, run), space.clock)


@router.post(
    "/{run}/cancel", status_code=202, dependencies=[needs(Permission.OPERATE)], response_model=RunShown
)
def cancel_run(space: Space, run: str) -> dict[str, Any]:
    """Ask it to stop: its snapshot, or what a restore has half made, is removed first."""
    return run_document(runs.cancel(space, run), space.clock)


@router.get("/{run}/log", dependencies=[needs(Permission.OPERATE)], response_model=Page[LogLineShown])
def run_log(
    space: Space,
    run: str,
    paging: LongPages,
    after: Annotated[int, Query(ge=0, le=2**53, description="Only lines with a higher number.")] = 0,
) -> dict[str, Any]:
    """What it told, the oldest first."""
    record = runs.get(space, run)
    lines = runs.logs(space, record, after=max(after, paging.number))[: paging.limit + 1]
    return paging.page(
        lines,
        lambda line: line[0],
        lambda line: {
            "number": line[0],
            "time": when(line[1].time),
            "level": line[1].level,
            "message": line[1].message,
        },
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


def _there(space: Space, run: str) -> None:
    """Before a stream has begun there is still an answer to give."""
    runs.get(space, run)


@router.get(
    "/{run}/events",
    dependencies=[needs(Permission.SEE), Depends(_there)],
    response_class=EventSourceResponse,
)
async def run_events(
    request: Request,
    space: Space,
    run: str,
    last_event_id: Annotated[str, Header(alias="Last-Event-ID", max_length=40)] = "",
) -> AsyncIterator[ServerSentEvent]:
    """The run's document whenever it changes and its log lines as they come, until it ends.

    Resumes after `Last-Event-ID`: the number of the last log line that was received.
    """
    record = await run_in_threadpool(runs.get, space, run)
    last = _number(last_event_id)
    shown: dict[str, Any] | None = None
    state, seen, rounds = state_of(request), None, 0
    door = Door(request, identity.current())
    with state.feed.watching(record.id):
        while not state.stopping.is_set() and not await request.is_disconnected() and await door.is_open():
            mark = await state.feed.mark(space, record.id)
            rounds += 1
            if mark is None or mark != seen or rounds % _LOOK_ANYWAY == 0:  # time passes in a document too
                document, lines, ended = await run_in_threadpool(_look, space, record.id, last)
                seen = None if ended else mark  # one more look, for its last lines
                for number, line in lines:
                    last = number
                    yield ServerSentEvent(data=line, event="log", id=str(number))
                if document != shown:
                    shown = document
                    yield ServerSentEvent(data=document, event="run", id=str(last))
                if ended and not lines:
                    yield ServerSentEvent(data={}, event="end", id=str(last))
                    return
            await asyncio.sleep(LOOK_SECONDS)


def _look(
    space: Workspace, run_id: str, last: int
) -> tuple[dict[str, Any], list[tuple[int, dict[str, Any]]], bool]:
    record = runs.get(space, run_id)
    lines = [
        (number, {"time": when(line.time), "level": line.level, "message": line.message})
        for number, line in runs.logs(space, record, after=last)
    ]
    return run_document(record, space.clock), lines, record.state in ENDED
