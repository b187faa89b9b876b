"""The daily report: once a day whoever asks, with what people must look at; and the settings that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vbm.catalog.runs import RunRecord, insert_runs
from vbm.clock import VirtualClock
from vbm.errors import InputError
from vbm.ids import new_id
from vbm.notifications.render import render
from vbm.policy.job import Job
from vbm.services import channels, preferences, trail
from vbm.services.channels import NewChannel
from vbm.services.doors import WorkspaceDoors
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.workflows.digest import report_if_due
from vbm.workflows.outbox import event_from_json

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    settings = Settings(tmp_path, f"sqlite:///{tmp_path}/vbm.db")
    with Workspace(settings, clock=VirtualClock(NOW)) as made:
        channels.add(made, NewChannel("ops", "https://hooks.example.org/x", kind="webhook"))
        yield made


def ended(workspace: Workspace, vm: str, state: str, ago: timedelta, message: str = "") -> None:
    base = {"name": "nightly", "vcenter_id": "v", "repository_id": "r", "selection": {"vms": ["*"]}}
    when = workspace.clock.now() - ago
    run = RunRecord(
        id=new_id(when),
        execution_id="e",
        job_id="j",
        job_name="nightly",
        vm_uuid=vm,
        vm_name=vm,
        vcenter_id="v",
        repository_id="r",
        datastores=(),
        document=Job.from_document(base).to_document(),
        created=when,
    )
    result = {"bytes_read": 1 << 20, "bytes_new": 1 << 10}
    done = replace(run, state=state, finished=when, error_message=message, result=result)
    with workspace.catalog.writing() as session:
        insert_runs(session, [done])


def test_the_report_goes_out_once_a_day_at_its_time(workspace: Workspace) -> None:
    clock = workspace.clock
    assert isinstance(clock, VirtualClock)
    doors, other = WorkspaceDoors(workspace), WorkspaceDoors(workspace)
    assert not report_if_due(doors)
    preferences.change(workspace, {"digest_at": "07:00"})
    sent = []
    for _ in range(3 * 24 * 4):
        clock.advance(15 * 60)
        sent += [clock.now() for node in (doors, other) if report_if_due(node)]
    assert sent == [datetime(2026, 11, day, 7, 0, tzinfo=UTC) for day in (23, 24, 25)]
    preferences.change(workspace, {"digest_at": "off"})
    clock.advance(48 * 3600)
    assert not report_if_due(doors)


def test_the_report_names_what_people_must_look_at(workspace: Workspace) -> None:
    preferences.change(workspace, {"digest_at": "07:00"})
    clock = workspace.clock
    assert isinstance(clock, VirtualClock)
    clock.advance(3600)
    ended(workspace, "web01", "succeeded", timedelta(minutes=5))
    ended(workspace, "db01", "failed", timedelta(minutes=4), "the datastore is <full>")
    ended(workspace, "old", "failed", timedelta(hours=30), "not of this day")
    assert report_if_due(WorkspaceDoors(workspace))
    ops = channels.get(workspace, "ops")
    (message,) = channels.messages(workspace, ops.id)
    event = event_from_json(message.event)
    assert event.message == "1 of 2 runs of the last day succeeded; 1 failed."
    facts = dict(event.facts)
    assert (facts["Succeeded"], facts["Failed"], facts["Read"]) == ("1", "1", "2 MiB")
    assert facts["db01"] == "failed, job nightly: the datastore is <full>"
    assert "old" not in facts
    words = render(event)
    assert words.subject == "[vbm] Daily report: 1 to look at"
    assert "&lt;full&gt;" in words.html


@pytest.mark.parametrize(
    ("name", "value"), [("max_run", "1"), ("max_runs", "-1"), ("max_runs", "many"), ("digest_at", "25:00")]
)
def test_a_setting_that_can_not_be_is_refused(workspace: Workspace, name: str, value: str) -> None:
    before = preferences.listing(workspace)
    with pytest.raises(InputError):
        preferences.change(workspace, {name: value})
    assert preferences.listing(workspace) == before


def test_a_setting_is_changed_and_the_change_is_in_the_audit_trail(workspace: Workspace) -> None:
    before = trail.check(workspace).count
    assert preferences.change(workspace, {"max_runs": "12"}) == {"max_runs": 12}
    assert trail.check(workspace).count == before + 1
    assert {one.name: one.value for one in preferences.listing(workspace)}["max_runs"] == 12
