"""Several workers: their names, which runs they take first, and how the campaign counts what the lab has seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fixtures_lab_log import Place, most_at_once, spans
from vbm.catalog.preferences import Preferences
from vbm.catalog.runs import RunRecord
from vbm.catalog.workers import WorkerRecord, bury, insert_worker
from vbm.policy.job import Job
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.workflows.admission import choose

NOW = datetime(2026, 11, 23, 23, 0, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(Settings(tmp_path, f"sqlite:///{tmp_path}/vbm.db")) as made:
        yield made


def test_no_two_living_workers_have_one_name(workspace: Workspace) -> None:
    one = WorkerRecord("1", "backup", "h", 1, "p", 1, NOW, "1")
    with workspace.catalog.writing() as session:
        assert insert_worker(session, one) == "backup"
        assert insert_worker(session, replace(one, id="2")) == "backup-2"
        assert insert_worker(session, replace(one, id="3")) == "backup-3"
        bury(session, "1")
        assert insert_worker(session, replace(one, id="4")) == "backup"


def test_a_run_that_was_begun_goes_before_those_that_were_not() -> None:
    base = {"name": "j", "vcenter_id": "v", "repository_id": "r", "selection": {"vms": ["*"]}}
    document = Job.from_document(base).to_document()
    fresh = RunRecord("1", "e", "j", "j", "u1", "vm1", "v", "r", ("ds1",), document, NOW)
    begun = replace(fresh, id="2", vm_uuid="u2", datastores=("ds2",), started=NOW)
    chosen = choose([fresh, begun], Preferences(), NOW)
    assert chosen is not None
    assert chosen.id == "2"


def test_the_labs_log_tells_how_many_backups_were_at_once(tmp_path: Path) -> None:
    one = Place("a", "v", "ds", "r", "vm-1", "a")
    two = Place("b", "v", "ds", "r", "vm-2", "b")
    entries = [
        (0, {"event": "snapshot-created", "vm": "vm-1", "name": "s1"}),
        (1, {"event": "get-start", "path": "[ds] a/a-flat.vmdk"}),
        (4, {"event": "get-end", "path": "[ds] a/a-flat.vmdk"}),
        (3, {"event": "snapshot-created", "vm": "vm-2", "name": "s2"}),
        (5, {"event": "get-start", "path": "[ds] b/b-flat.vmdk"}),
        (9, {"event": "snapshot-removed", "vm": "vm-1", "name": "s1"}),
    ]
    lines = [json.dumps({"time": f"2026-11-23T23:00:{second:02}Z"} | entry) for second, entry in entries]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    found = spans(tmp_path, [one, two])
    assert [(s.snapshot, s.end - s.begin, s.reads, s.gone is None) for s in found] == [
        ("s1", 4, 1, False),
        ("s2", 2, 1, True),
    ]
    assert most_at_once(found, lambda place: place.datastore) == {"ds": 2}
    apart = [found[0], replace(found[1], begin=found[0].end)]
    assert most_at_once(apart, lambda place: place.datastore) == {"ds": 1}
