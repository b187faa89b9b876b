"""The job document: round trips, what is refused and how; admission; the audit trail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from vbm.catalog.audit import AuditEntry, AuditFilter, append_entry, entries, verify
from vbm.catalog.catalog import Catalog
from vbm.catalog.errors import CatalogError
from vbm.catalog.preferences import Preferences, preferences, set_preference
from vbm.catalog.runs import RunRecord, change_run, find_run, hand_back, insert_runs, request_cancel, take_run
from vbm.catalog.workers import take_turn
from vbm.errors import InputError
from vbm.policy.job import Job
from vbm.workflows.admission import Reach, choose

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DOCUMENT: dict[str, Any] = {
    "name": "nightly",
    "vcenter_id": "vc",
    "repository_id": "main",
    "selection": {"vms": ["web*"], "exclude": {"vms": ["web99"]}},
    "schedule": {"cron": "0 3 * * *", "timezone": "Europe/Paris", "window": "22:00-06:00"},
    "retention": {"keep_last": 2, "gfs": {"daily": 7}},
    "notifications": [{"channel_id": "ops", "on": ["failure"]}],
}


def test_a_document_comes_back_with_every_default_and_means_the_same() -> None:
    job = Job.from_document(DOCUMENT)
    assert Job.from_document(job.to_document()) == job
    assert job.to_document()["retries"] == {"attempts": 3, "wait_seconds": 300}
    assert job.to_document()["snapshot_timeout_seconds"] == 4 * 3600


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"nmae": "x"}, "nmae"),
        ({"name": ""}, "name"),
        ({"selection": {}}, "selects no VM"),
        ({"selection": {"vms": "web01"}}, "vms"),
        ({"schedule": {"cron": "every day"}}, "schedule"),
        ({"schedule": {"cron": "0 3 * * *", "timezone": "Mars/Base"}}, "time zone"),
        ({"schedule": {"window": "late"}}, "window"),
        ({"retention": {"keep_last": -1}}, "keep_last"),
        ({"retention": {"gfs": {"hourly": 3}}}, "hourly"),
        ({"retries": {"attempts": 0}}, "attempts"),
        ({"mode": "half"}, "mode"),
        ({"enabled": "yes"}, "enabled"),
        ({"notifications": [{"channel_id": "ops", "on": ["explosion"]}]}, "explosion"),
        ({"snapshot_timeout_seconds": 0}, "snapshot_timeout_seconds"),
        ({"limits": {"parallel_vms": True}}, "parallel_vms"),
        ({"limits": []}, ""),
    ],
)
def test_what_can_not_be_right_is_refused_by_name(change: dict[str, Any], word: str) -> None:
    if change == {"limits": []}:
        assert Job.from_document(DOCUMENT | change).parallel_vms == 0
        return
    with pytest.raises(InputError) as caught:
        Job.from_document(DOCUMENT | change)
    assert word in caught.value.message


def run(number: int, state: str = "queued", **values: Any) -> RunRecord:
    document = Job.from_document(DOCUMENT | {"schedule": {}}).to_document() | values.pop("document", {})
    fields: dict[str, Any] = {
        "id": f"r{number}",
        "execution_id": "e",
        "job_id": "j",
        "job_name": "nightly",
        "vm_uuid": f"u{number}",
        "vm_name": f"vm{number}",
        "vcenter_id": "v1",
        "repository_id": "p1",
        "datastores": ("ds1",),
        "document": document,
        "created": NOW,
        "state": state,
    }
    return RunRecord(**fields | values)


NO_LIMITS = Preferences(0, 0, 0, 0)


def chosen(live: list[RunRecord], limits: Preferences = NO_LIMITS, reach: Reach | None = None) -> str | None:
    found = choose(live, limits, NOW, reach or Reach())
    return found.id if found else None


def test_each_limit_holds_by_itself() -> None:
    live = [run(1, "running"), run(2)]
    assert chosen(live) == "r2"
    for limits in (
        Preferences(1, 0, 0, 0),
        Preferences(0, 1, 0, 0),
        Preferences(0, 0, 1, 0),
        Preferences(0, 0, 0, 1),
    ):
        assert chosen(live, limits) is None
    elsewhere = run(3, vcenter_id="v2", repository_id="p2", job_id="k")
    assert chosen([*live, elsewhere], Preferences(0, 1, 1, 1)) == "r3"
    narrow = {"limits": {"parallel_vms": 1, "bytes_per_second": 0}}
    assert chosen([run(1, "running"), run(2, document=narrow)]) is None


def test_one_run_of_a_vm_at_a_time() -> None:
    assert chosen([run(1, "running", vm_uuid="same"), run(2, vm_uuid="same"), run(3)]) == "r3"


def test_a_worker_takes_only_what_it_serves() -> None:
    assert chosen([run(1)], reach=Reach(vcenters=frozenset({"v2"}))) is None
    assert chosen([run(1)], reach=Reach(repositories=frozenset({"p1"}))) == "r1"


def test_a_closed_window_holds_new_runs_but_not_those_that_were_begun() -> None:
    schedule = {"schedule": {"cron": None, "timezone": "UTC", "window": "22:00-06:00", "window_end": "end"}}
    assert chosen([run(1, document=schedule)]) is None
    assert chosen([run(1, document=schedule, started=NOW)]) == "r1"


@pytest.fixture
def catalog(tmp_path: Path):
    with Catalog.open(f"sqlite:///{tmp_path}/vbm.db") as opened:
        yield opened


def test_whoever_lost_a_run_can_not_change_it_any_more(catalog: Catalog) -> None:
    with catalog.writing() as session:
        insert_runs(session, [run(1)])
        first = take_run(session, run(1), "w1", NOW)
        assert hand_back(session, "w1") == ["r1"]
        found = find_run(session, "r1")
        assert found is not None
        second = take_run(session, found, "w2", NOW)
        assert second > first
        assert not change_run(session, "r1", first, {"phase": "done"})
        assert change_run(session, "r1", second, {"phase": "cleanup"})


def test_a_queued_run_is_cancelled_at_once_and_a_running_one_asked(catalog: Catalog) -> None:
    with catalog.writing() as session:
        insert_runs(session, [run(1), run(2)])
        take_run(session, run(2), "w1", NOW)
        assert request_cancel(session, "r1", "by me", NOW)
        assert request_cancel(session, "r2", "by me", NOW)
        assert not request_cancel(session, "r1", "by me", NOW)
        one, two = find_run(session, "r1"), find_run(session, "r2")
    assert one is not None
    assert two is not None
    assert (one.state, two.state, two.cancel_reason) == ("cancelled", "running", "by me")


def test_the_audit_trail_shows_where_it_was_changed(catalog: Catalog) -> None:
    for number in range(5):
        with catalog.writing() as session:
            append_entry(session, AuditEntry(NOW, "cli:me", "job.create", f"j{number}", {"ü": number}))
    with catalog.reading() as session:
        assert verify(session).broken_at == 0
        assert [e.number for e in entries(session, AuditFilter(limit=2))] == [5, 4]
    for change in CHANGES:
        with pytest.raises(CatalogError, match="only grows"), catalog.writing() as session:
            session.execute(text(change))
        with catalog.writing() as session:  # somebody who owns the database and means it
            session.execute(text("DROP TRIGGER IF EXISTS audit_no_update"))
            session.execute(text("DROP TRIGGER IF EXISTS audit_no_delete"))
            session.execute(text(change))
        with catalog.reading() as session:
            assert verify(session).broken_at == (3 if "UPDATE" in change else 4)
        with catalog.writing() as session:
            session.execute(text(AGAIN))


CHANGES = ("UPDATE audit SET target = 'other' WHERE number = 3", "DELETE FROM audit WHERE number = 3")
AGAIN = "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'only grows'); END"


def test_settings_are_kept_and_wrong_ones_refused(catalog: Catalog) -> None:
    with catalog.writing() as session:
        set_preference(session, "max_runs", 3)
        with pytest.raises(InputError):
            set_preference(session, "max_ruins", 3)
        with pytest.raises(InputError):
            set_preference(session, "max_runs", -1)
        assert preferences(session) == Preferences(max_runs=3)


def test_periodic_work_is_done_by_one_of_several(catalog: Catalog) -> None:
    with catalog.writing() as session:
        assert take_turn(session, "guard", "a", NOW, timedelta(minutes=15))
        assert not take_turn(session, "guard", "b", NOW + timedelta(minutes=14), timedelta(minutes=15))
        assert take_turn(session, "guard", "b", NOW + timedelta(minutes=15), timedelta(minutes=15))
