"""The stream that tells open pages when to look again: what it tells, to whom, and what it asks of the database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Request
from sqlalchemy import event

from fixtures_screens import served
from vbm.catalog.runs import RunRecord, change_run, insert_runs
from vbm.clock import VirtualClock
from vbm.ids import new_id
from vbm.policy.scope import Scope
from vbm.security.roles import Role
from vbm.services import api_keys, identity, live
from vbm.services.api_keys import NewApiKey
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.web.access import Door
from vbm.web.app import create_app
from vbm.web.news import NEWS_SECONDS, News
from vbm.web.options import WebOptions
from vbm.workflows.orders import document_of


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(Settings(tmp_path, f"sqlite:///{tmp_path}/vbm.db")) as made:
        yield made


def new_run(space: Workspace, state: str = "queued", vcenter: str = "ours") -> str:
    now = space.clock.now()
    document = document_of("verify")
    run = RunRecord(
        new_id(now), "", "", "", "u", "web01", vcenter, "r", (), document, now, kind="verify", state=state
    )
    with space.catalog.writing() as session:
        insert_runs(session, [run])
    return run.id


def change(space: Workspace, run: str, **values: Any) -> None:
    with space.catalog.writing() as session:
        assert change_run(session, run, 0, values)


def limited(*vcenters: str) -> identity.Identity:
    return identity.Identity("otto", Role.OPERATOR, scope=Scope.of(vcenters))


def test_a_run_that_comes_begins_goes_on_and_ends_is_told(space: Workspace) -> None:
    nothing = live.live(space)
    run = new_run(space)
    queued = live.live(space)
    assert (queued.queued, queued.running, queued.has_same_runs(nothing.mark)) == (1, 0, False)
    change(space, run, state="running", phase="connecting")
    begun = live.live(space)
    assert (begun.queued, begun.running, begun.has_same_runs(queued.mark)) == (0, 1, False)
    change(space, run, phase="downloading", bytes_total=100, bytes_done=7)
    further = live.live(space)
    assert (further.bytes_done, further.bytes_total) == (7, 100)
    assert further.has_same_runs(begun.mark)
    assert further.mark != begun.mark
    change(space, run, state="succeeded")
    ended = live.live(space)
    assert (ended.running, ended.has_same_runs(further.mark)) == (0, False)


@pytest.mark.parametrize("state", ["queued", "succeeded"])
def test_a_run_that_comes_between_two_looks_is_not_missed(space: Workspace, state: str) -> None:
    run = new_run(space, "running")
    before, stir = live.live(space), live.stir(space)
    change(space, run, state="failed")
    new_run(space, state)
    assert not live.live(space).has_same_runs(before.mark)
    assert live.stir(space) != stir


def test_who_is_limited_hears_nothing_of_what_others_do(space: Workspace) -> None:
    with identity.acting(limited("theirs")):
        before = live.live(space)
    run = new_run(space)
    change(space, run, state="running", bytes_done=9)
    with identity.acting(limited("theirs")):
        assert live.live(space) == before
    with identity.acting(limited("ours")):
        assert live.live(space).running == 1


def test_what_runs_goes_before_what_waits(space: Workspace) -> None:
    running = new_run(space, "running")
    waiting = [new_run(space) for _ in range(9)]
    assert [run.id for run in live.under_way(space, 4)] == [running, *sorted(waiting)[:-4:-1]]


def test_all_streams_ask_once_a_second_and_more_only_where_something_changed(space: Workspace) -> None:
    clock = VirtualClock()
    news, everybody, one = News(clock), identity.current(), limited("theirs")
    questions: list[str] = []
    engine = space.catalog._engine
    event.listen(engine, "before_cursor_execute", lambda *a: questions.append(a[2]))

    async def asked(who: identity.Identity) -> int:
        """How many SELECTs forty streams of theirs cost."""
        questions.clear()
        with identity.acting(who):
            for _ in range(40):
                await news.live(space, who)
        return sum("FROM runs" in question for question in questions)

    async def looked() -> None:
        with news.listening(everybody), news.listening(one):
            assert await asked(everybody) == 4  # the question for all, and what there is for these
            assert await asked(one) == 2
            assert await asked(one) == 0
            clock.advance(NEWS_SECONDS)
            assert await asked(one) + await asked(everybody) == 2
            new_run(space)
            assert await asked(everybody) == 0  # not yet
            clock.advance(NEWS_SECONDS)
            assert await asked(everybody) == 4
            with identity.acting(everybody):
                found = await news.live(space, everybody)
            assert found is not None
            assert found.queued == 1

    asyncio.run(looked())


def test_the_stream_resumes_where_it_was_cut(space: Workspace) -> None:
    _, key = api_keys.create(space, NewApiKey("wall", Role.VIEWER))
    run = new_run(space, "running")

    def listen(url: str, **more: str) -> Iterator[tuple[str, str, dict[str, int]]]:
        """(event, id, data); before each but the first something is changed."""
        headers = {"x-api-key": key} | {name.replace("_", "-"): value for name, value in more.items()}
        with httpx.stream("GET", f"{url}/api/v1/events", headers=headers, timeout=10) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            told: dict[str, str] = {}
            for line in stream.iter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    told[name] = value
                elif "event" in told:
                    yield told["event"], told["id"], json.loads(told["data"])
                    told = {}

    with served(space) as url:
        events = listen(url)
        kind, mark, data = next(events)
        assert (kind, data["running"]) == ("runs", 1)
        change(space, run, bytes_done=5)
        kind, mark, data = next(events)
        assert (kind, data["bytes_done"]) == ("progress", 5)
        events.close()
        change(space, run, bytes_done=6)
        events = listen(url, last_event_id=mark)
        kind, mark, data = next(events)
        assert (kind, data["bytes_done"]) == ("progress", 6)
        change(space, run, state="succeeded")
        kind, mark, data = next(events)
        assert (kind, data["running"]) == ("runs", 0)
        events.close()


def test_a_revoked_key_listens_no_longer(space: Workspace) -> None:
    record, key = api_keys.create(space, NewApiKey("wall", Role.VIEWER))
    app, clock = create_app(space, WebOptions()), VirtualClock()
    headers = [(b"x-api-key", key.encode())]
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": headers, "app": app})

    async def looked() -> None:
        who = api_keys.identified(space, key, "")
        assert who is not None
        door = Door(request, who, clock)
        clock.advance(40)
        assert await door.is_open()
        with identity.acting(identity.at_the_command_line()):
            api_keys.revoke(space, record.id)
        assert await door.is_open()
        clock.advance(40)
        assert not await door.is_open()

    asyncio.run(looked())
