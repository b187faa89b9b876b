"""What is counted when runs end: it only grows, outlives the runs, and goes with the job's VMs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from vbm.catalog import schema
from vbm.catalog.catalog import Catalog
from vbm.catalog.jobs import JobRecord, delete_job, insert_job
from vbm.catalog.repositories import KeyKind, RepositoryRecord, delete_repository, insert_repository
from vbm.catalog.repository_usage import UsageRecord, all_usage, forget_usage, put_usage
from vbm.catalog.runs import RunRecord, RunRow, insert_runs, prune_runs
from vbm.catalog.totals import (
    LIMITS,
    Total,
    all_totals,
    count_no_run,
    count_run,
    forget_totals,
    keep_selected,
)
from vbm.catalog.vcenters import VcenterRecord, insert_vcenter
from vbm.policy.job import Job
from vbm.workflows.orders import document_of

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
SIZES = {"bytes_read": 400, "bytes_changed": 300, "bytes_new": 100, "capacity_bytes": 4096}


def run(number: int, state: str = "succeeded", **fields: object) -> RunRecord:
    made = RunRecord(
        id=f"20261123T030000{number:03d}-0000000000",
        execution_id="e",
        job_id="j",
        job_name="nightly",
        vm_uuid="u",
        vm_name="web01",
        vcenter_id="v",
        repository_id="r",
        datastores=(),
        document=document_of("verify"),
        created=NOW,
        started=NOW,
        finished=NOW + timedelta(seconds=42),
        state=state,
        error_code="vm-in-use" if state == "failed" else "",
        result=dict(SIZES),
    )
    return replace(made, **fields)  # type: ignore[arg-type]


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    document = Job.from_document(
        {"name": "nightly", "vcenter_id": "v", "repository_id": "r", "selection": {"vms": ["*"]}}
    ).to_document()
    with Catalog.open(f"sqlite:///{tmp_path}/vbm.db") as made:
        with made.writing() as session:
            insert_vcenter(session, VcenterRecord("v", "main", "h", 1, "u", "ab", "", "", "", NOW, ""))
            insert_repository(
                session, RepositoryRecord("r", "store", "file:///s", "x", KeyKind.NONE, "", 1, "fast", NOW)
            )
            insert_job(session, JobRecord("j", "nightly", True, "v", "r", document, NOW, NOW, NOW))
        yield made


def count(catalog: Catalog, *records: RunRecord) -> None:
    with catalog.writing() as session:
        insert_runs(session, records)
        for record in records:
            count_run(session, session.get_one(RunRow, record.id))


def totals(catalog: Catalog, kind: str) -> list[Total]:
    with catalog.reading() as session:
        return [total for total in all_totals(session) if total.kind == kind]


def test_backups_are_counted_by_job_vm_and_vcenter(catalog: Catalog) -> None:
    slow = run(2, "warning", finished=NOW + timedelta(days=2))
    count(catalog, run(1), slow, run(3, "failed"), run(4, "failed"), run(5, "cancelled"))
    (found,) = totals(catalog, "backup")
    assert (found.job, found.vm_name, found.vcenter) == ("nightly", "web01", "main")
    assert (found.succeeded, found.failed, found.seconds) == (2, {"vm-in-use": 2}, 42 + 2 * 86400)
    assert found.lengths == [0, 1, *[0] * (len(LIMITS) - 2), 1]
    assert found.sizes == {"read": 400, "changed": 300, "new": 100, "logical": 4096}
    assert (found.last_success, found.last_good) == (slow.finished, False)
    (volume,) = totals(catalog, "volume")
    assert volume.sizes == {"read": 800, "changed": 600, "new": 200, "logical": 8192}


def test_a_length_on_a_limit_belongs_below_it(catalog: Catalog) -> None:
    count(catalog, *(run(n, finished=NOW + timedelta(seconds=limit)) for n, limit in enumerate(LIMITS)))
    assert totals(catalog, "backup")[0].lengths == [*[1] * len(LIMITS), 0]


def test_restores_and_verifications_are_counted_by_where(catalog: Catalog) -> None:
    damaged = {"error_code": "damage-found", "kind": "verify", "vcenter_id": ""}
    count(
        catalog,
        run(1, kind="restore", job_id=""),
        run(2, "failed", kind="restore", job_id=""),
        run(3, kind="check", job_id=""),
        run(6, "failed", kind="gc", job_id=""),
        run(4, "failed", job_id="", **damaged),
        run(5, "warning", result=SIZES | {"verified": {"good": False}}),
    )
    (restored,) = totals(catalog, "restore")
    assert (restored.vcenter, restored.succeeded, restored.failed) == ("main", 1, {"vm-in-use": 1})
    (verified,) = totals(catalog, "verify")
    assert (verified.repository, verified.succeeded, verified.failed) == ("store", 1, {"damage-found": 2})


def test_counts_outlive_the_runs_and_go_with_the_job(catalog: Catalog) -> None:
    count(catalog, run(1))
    before = totals(catalog, "backup")
    with catalog.writing() as session:
        prune_runs(session, NOW + timedelta(days=9))
        forget_totals(session, NOW + timedelta(days=9))
    assert totals(catalog, "backup") == before
    with catalog.writing() as session:
        delete_job(session, "j")
    assert totals(catalog, "backup") == []
    assert len(totals(catalog, "volume")) == 1
    with catalog.writing() as session:
        forget_totals(session, NOW - timedelta(days=9))
    with catalog.reading() as session:
        assert len(all_totals(session)) == 1


def test_a_vm_that_its_job_selects_no_more_is_forgotten(catalog: Catalog) -> None:
    count(catalog, run(1), run(2, vm_name="web02"), run(3, vm_name="web01", vcenter_id="old"))
    with catalog.writing() as session:
        count_no_run(session, "j", "v", "vcenter-unreachable", NOW)
        keep_selected(session, "j", "v", {"web02", "web03"})
    assert [(t.vm_name, t.failed) for t in totals(catalog, "backup")] == [
        ("", {"vcenter-unreachable": 1}),
        ("web02", {}),
    ]


def test_what_a_store_holds_grows_between_two_looks(catalog: Catalog) -> None:
    with catalog.writing() as session:
        put_usage(session, UsageRecord("r", NOW, 10, 100))
    count(catalog, run(1))
    with catalog.writing() as session:
        assert all_usage(session)["r"].stored_bytes is None
        put_usage(session, UsageRecord("r", NOW, 10, 100, stored_bytes=5))
    count(catalog, run(2))
    with catalog.writing() as session:
        put_usage(session, UsageRecord("r", NOW, 9, 100))
        assert all_usage(session)["r"] == UsageRecord("r", NOW, 9, 100, stored_bytes=105)
        delete_repository(session, "r")
        forget_usage(session)
        assert all_usage(session) == {}


def test_the_upgrade_counts_what_has_ended(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).with_name("migrations")))
    config.set_main_option("path_separator", "newline")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")
        names = [row[1] for row in connection.execute(text("PRAGMA table_info(runs)"))]
        places = ", ".join(f":{name}" for name in names)
        for number, state in enumerate(("succeeded", "warning", "failed", "cancelled", "running")):
            finished = None if state == "running" else f"2026-11-2{number} 03:00:00.000000"
            values = dict.fromkeys(names, "0") | {
                "id": str(number),
                "job_id": "",
                "vm_name": "web01",
                "vcenter_id": "",
                "state": state,
                "kind": "backup",
                "finished": finished,
                "error_code": "vm-in-use",
            }
            connection.execute(text(f"INSERT INTO runs VALUES ({places})"), values)
    engine.dispose()
    Catalog.upgrade(url)
    with Catalog.open(url) as catalog:
        (found,) = totals(catalog, "backup")
    assert (found.succeeded, found.failed, found.vm_name) == (2, {"vm-in-use": 1}, "web01")
    assert found.last_success == datetime(2026, 11, 21, 3, tzinfo=UTC)
