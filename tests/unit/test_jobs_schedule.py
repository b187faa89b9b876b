"""Jobs on the virtual clock: slots fire once, a pause fires once on return, both daylight-saving changes are right."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vbm.catalog.deliveries import due_deliveries
from vbm.catalog.executions import pending_executions
from vbm.catalog.repositories import KeyKind, RepositoryRecord, insert_repository
from vbm.catalog.vcenters import VcenterRecord, insert_vcenter
from vbm.clock import VirtualClock
from vbm.services import channels, jobs
from vbm.services.channels import NewChannel
from vbm.services.doors import WorkspaceDoors
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.workflows import dispatcher


class Scene:
    def __init__(self, home: Path, start: datetime) -> None:
        self.clock = VirtualClock(start)
        self.workspace = Workspace(Settings(home, f"sqlite:///{home}/vbm.db"), clock=self.clock)
        with self.workspace.catalog.writing() as session:
            insert_vcenter(
                session,
                VcenterRecord(
                    "v1", "vc", "h", 443, "u", "ab" * 32, "", "p", "i", created=start, sealed_password="x"
                ),
            )
            insert_repository(
                session,
                RepositoryRecord(
                    "r1", "main", "file:///r", "id", KeyKind.NONE, "", 1 << 20, "default", start
                ),
            )
        hook = NewChannel("hook", "https://hooks.example.org/x", kind="webhook")
        channels.add(self.workspace, hook)
        self.doors = WorkspaceDoors(self.workspace)
        self.other = WorkspaceDoors(self.workspace)

    def job(self, cron: str, zone: str, grace: int = 3600) -> None:
        schedule = {"cron": cron, "timezone": zone, "misfire_grace_seconds": grace}
        document = {"name": "j", "vcenter_id": "vc", "repository_id": "main", "selection": {"vms": ["*"]}}
        jobs.create(self.workspace, document | {"schedule": schedule})

    def slots(self) -> list[datetime]:
        with self.workspace.catalog.reading() as session:
            return [e.slot for e in pending_executions(session, self.clock.now()) if e.slot is not None]

    def pass_time(self, until: datetime, step: timedelta) -> None:
        """Two nodes look at every step."""
        while self.clock.now() < until:
            self.clock.advance(step.total_seconds())
            dispatcher.fire(self.doors)
            dispatcher.fire(self.other)

    def events(self) -> list[str]:
        with self.workspace.catalog.reading() as session:
            return [d.event["event"] for d in due_deliveries(session, self.clock.now())]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def at(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


@pytest.fixture
def scenes(home: Path) -> Iterator[list[Scene]]:
    made: list[Scene] = []
    yield made
    for scene in made:
        scene.workspace.close()


@pytest.mark.parametrize(
    ("zone", "start", "expected"),
    [
        ("Europe/Paris", "2026-03-28T00:00", ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]),
        ("Europe/Paris", "2026-10-24T00:00", ["2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"]),
        (
            "America/New_York",
            "2026-03-07T00:00",
            ["2026-03-07T07:30", "2026-03-08T07:00", "2026-03-09T06:30"],
        ),
        (
            "America/New_York",
            "2026-10-31T00:00",
            ["2026-10-31T06:30", "2026-11-01T07:30", "2026-11-02T07:30"],
        ),
    ],
)
def test_both_daylight_saving_changes_fire_once_a_day(
    home: Path, scenes: list[Scene], zone: str, start: str, expected: list[str]
) -> None:
    scene = Scene(home, at(start))
    scenes.append(scene)
    scene.job("30 2 * * *", zone)
    scene.pass_time(at(start) + timedelta(days=3), timedelta(minutes=10))
    assert scene.slots() == [at(text) for text in expected]
    assert scene.events() == []


def test_after_a_week_without_the_service_one_run_fires_and_the_missed_are_told_of(
    home: Path, scenes: list[Scene]
) -> None:
    scene = Scene(home, at("2026-06-01T00:00"))
    scenes.append(scene)
    scene.job("0 3 * * *", "UTC")
    scene.pass_time(at("2026-06-02T12:00"), timedelta(minutes=30))
    assert len(scene.slots()) == 2
    scene.clock.jump(at("2026-06-09T03:30"))
    scene.pass_time(at("2026-06-09T12:00"), timedelta(minutes=30))
    assert scene.slots()[2:] == [at("2026-06-09T03:00")]
    assert scene.events() == ["schedule_missed"]


def test_slots_beyond_the_grace_are_missed_and_not_run(home: Path, scenes: list[Scene]) -> None:
    scene = Scene(home, at("2026-06-01T00:00"))
    scenes.append(scene)
    scene.job("0 3 * * *", "UTC", grace=600)
    scene.clock.jump(at("2026-06-03T05:00"))
    scene.pass_time(at("2026-06-03T06:00"), timedelta(minutes=10))
    assert scene.slots() == []
    assert scene.events() == ["schedule_missed"]


def test_a_disabled_job_rests_and_an_enabled_one_begins_from_now(home: Path, scenes: list[Scene]) -> None:
    scene = Scene(home, at("2026-06-01T00:00"))
    scenes.append(scene)
    scene.job("0 * * * *", "UTC")
    jobs.update(scene.workspace, "j", {"enabled": False})
    scene.pass_time(at("2026-06-01T05:30"), timedelta(minutes=10))
    assert scene.slots() == []
    jobs.update(scene.workspace, "j", {"enabled": True})
    scene.pass_time(at("2026-06-01T07:30"), timedelta(minutes=10))
    assert scene.slots() == [at("2026-06-01T06:00"), at("2026-06-01T07:00")]


def test_a_clock_that_goes_back_fires_nothing_twice(home: Path, scenes: list[Scene]) -> None:
    scene = Scene(home, at("2026-06-01T00:00"))
    scenes.append(scene)
    scene.job("0 * * * *", "UTC")
    scene.pass_time(at("2026-06-01T03:10"), timedelta(minutes=10))
    scene.clock.jump(at("2026-06-01T01:00"))
    scene.pass_time(at("2026-06-01T04:10"), timedelta(minutes=10))
    assert scene.slots() == [at(f"2026-06-01T0{hour}:00") for hour in (1, 2, 3, 4)]


def test_a_changed_schedule_counts_from_the_change(home: Path, scenes: list[Scene]) -> None:
    scene = Scene(home, at("2026-06-01T00:00"))
    scenes.append(scene)
    scene.job("0 3 * * *", "UTC")
    record = jobs.update(scene.workspace, "j", {"schedule": {"cron": "0 5 * * *"}})
    assert record.next_run == at("2026-06-01T05:00")
    assert jobs.upcoming(record, scene.clock.now(), 2) == [at("2026-06-01T05:00"), at("2026-06-02T05:00")]
