"""What stops and pauses a run: cancel requests, deadlines, windows; on the virtual clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vbm.catalog.runs import RunRecord, find_run, insert_runs, request_cancel, take_run
from vbm.catalog.workers import WorkerRecord, insert_worker
from vbm.clock import VirtualClock
from vbm.errors import CancelledError
from vbm.policy.job import Job
from vbm.services.doors import WorkspaceDoors
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.workflows.attendant import Attendant
from vbm.workflows.live import LiveRun, LiveRuns
from vbm.workflows.stop import explained

NOW = datetime(2026, 11, 23, 23, 0, tzinfo=UTC)


class Scene:
    def __init__(self, home: Path, **document: Any) -> None:
        self.clock = VirtualClock(NOW)
        self.workspace = Workspace(Settings(home, f"sqlite:///{home}/vbm.db"), clock=self.clock)
        doors = WorkspaceDoors(self.workspace)
        base = {"name": "j", "vcenter_id": "v", "repository_id": "r", "selection": {"vms": ["*"]}}
        run = RunRecord(
            id="run",
            execution_id="e",
            job_id="j",
            job_name="j",
            vm_uuid="u",
            vm_name="web01",
            vcenter_id="v",
            repository_id="r",
            datastores=(),
            document=Job.from_document(base | document).to_document(),
            created=NOW,
        )
        with self.workspace.catalog.writing() as session:
            insert_worker(session, WorkerRecord("w", "w", "h", 1, "p", 1, NOW, "1"))
            insert_runs(session, [run])
            token = take_run(session, run, "w", NOW)
        self.live = LiveRun(doors, run, token)
        runs = LiveRuns()
        runs.add(self.live)
        self.attendant = Attendant(doors, "w", runs, 30)

    def look(self) -> str:
        self.attendant.look()
        return self.live.stop.why

    def close(self) -> None:
        self.workspace.close()


@pytest.fixture
def made(tmp_path: Path) -> Iterator[list[Scene]]:
    scenes: list[Scene] = []
    yield scenes
    for scene in scenes:
        scene.close()


def scene(made: list[Scene], home: Path, **document: Any) -> Scene:
    made.append(Scene(home, **document))
    return made[-1]


def code(given: Scene) -> str:
    with pytest.raises(CancelledError) as caught:
        given.live.stop.check()
    return explained(given.live.stop, caught.value).code


def test_a_request_to_cancel_stops_the_run(made: list[Scene], tmp_path: Path) -> None:
    given = scene(made, tmp_path)
    assert given.look() == ""
    with given.workspace.catalog.writing() as session:
        request_cancel(session, "run", "by me", NOW)
    assert given.look() == "cancelled"
    assert code(given) == "cancelled"


def test_a_deadline_stops_the_run(made: list[Scene], tmp_path: Path) -> None:
    given = scene(made, tmp_path, deadline_seconds=600)
    given.clock.advance(599)
    assert given.look() == ""
    given.clock.advance(1)
    assert given.look() == "deadline"
    assert code(given) == "deadline-exceeded"


def test_the_end_of_the_window_stops_the_run(made: list[Scene], tmp_path: Path) -> None:
    given = scene(made, tmp_path, schedule={"window": "22:00-06:00"})
    assert given.look() == ""
    given.clock.advance(timedelta(hours=7).total_seconds())
    assert given.look() == "window"
    assert code(given) == "window-closed"


def test_a_window_that_pauses_lets_the_run_wait_until_it_opens_again(
    made: list[Scene], tmp_path: Path
) -> None:
    given = scene(made, tmp_path, schedule={"window": "22:00-06:00", "window_end": "pause"})
    given.clock.advance(timedelta(hours=7).total_seconds())
    assert given.look() == ""
    assert given.live.stop.paused
    given.clock.advance(timedelta(hours=16).total_seconds())
    assert given.look() == ""
    assert not given.live.stop.paused
    given.live.stop.check()


def test_a_run_that_is_given_to_another_is_left_alone(made: list[Scene], tmp_path: Path) -> None:
    given = scene(made, tmp_path, deadline_seconds=1)
    with given.workspace.catalog.writing() as session:
        run = find_run(session, "run")
        assert run is not None
        take_run(session, run, "other", NOW)
    given.clock.advance(10)
    assert given.look() == ""
