"""Live streams ask the database together, and miss nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from vbm.catalog.run_log import LogLine, append_lines
from vbm.catalog.runs import RunRecord, change_run, insert_runs
from vbm.clock import SystemClock, VirtualClock
from vbm.ids import new_id
from vbm.security.roles import Role
from vbm.services import api_keys, runs
from vbm.services.api_keys import NewApiKey
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.web.app import create_app
from vbm.web.feed import LOOK_SECONDS, Feed
from vbm.web.options import WebOptions
from vbm.workflows.orders import document_of


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(Settings(tmp_path, f"sqlite:///{tmp_path}/vbm.db")) as made:
        yield made


def new_run(space: Workspace, state: str = "running") -> str:
    now = space.clock.now()
    run = RunRecord(
        new_id(now),
        "",
        "",
        "",
        "u",
        "web01",
        "v",
        "r",
        (),
        document_of("verify"),
        now,
        kind="verify",
        state=state,
    )
    with space.catalog.writing() as session:
        insert_runs(session, [run])
    return run.id


def change(space: Workspace, run: str, **values: Any) -> None:
    with space.catalog.writing() as session:
        assert change_run(session, run, 0, values)


def tell(space: Workspace, run: str, message: str) -> None:
    with space.catalog.writing() as session:
        append_lines(session, run, [LogLine(space.clock.now(), "info", message)])


@pytest.mark.parametrize(
    "values",
    [
        {"state": "succeeded"},
        {"phase": "downloading"},
        {"bytes_done": 1},
        {"attempts": 2},
        {"worker_id": "w"},
        {"error_code": "vm-in-use"},
        {"snapshot_state": "left"},
        {},
    ],
)
def test_each_change_that_people_are_shown_is_another_mark(space: Workspace, values: dict[str, Any]) -> None:
    run, other = new_run(space), new_run(space)
    before = runs.marks(space, (run, other))
    if values:
        change(space, run, **values)
    else:
        tell(space, run, "a line")
    after = runs.marks(space, (run, other))
    assert before[run] != after[run]
    assert before[other] == after[other]


def test_all_streams_ask_once_in_half_a_second(space: Workspace) -> None:
    clock = VirtualClock()
    feed, run, other = Feed(clock), new_run(space), new_run(space)

    async def looked() -> None:
        with feed.watching(run), feed.watching(run):
            first = await feed.mark(space, run)
            assert first is not None
            change(space, run, bytes_done=7)
            assert await feed.mark(space, run) == first
            with feed.watching(other):
                assert await feed.mark(space, other) is None
                clock.advance(LOOK_SECONDS)
                assert await feed.mark(space, run) != first
                assert await feed.mark(space, other) is not None
        clock.advance(LOOK_SECONDS)
        assert await feed.mark(space, run) is None

    asyncio.run(looked())


def test_a_stream_of_a_run_that_has_ended_tells_all_and_ends_at_once(space: Workspace) -> None:
    run = new_run(space, "succeeded")
    for message in ("one", "two"):
        tell(space, run, message)
    _, key = api_keys.create(space, NewApiKey("viewer", Role.VIEWER))
    clock = SystemClock()
    began = clock.monotonic()
    app = create_app(space, WebOptions())
    answer = TestClient(app).get(f"/api/v1/runs/{run}/events", headers={"x-api-key": key})
    events = [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event:")]
    assert events == ["log", "log", "run", "end"]
    assert clock.monotonic() - began < 5
