"""The upgrade that brought restores and verifications: what was there are backups; and who may run beside whom."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from vbm.catalog import schema
from vbm.catalog.catalog import Catalog
from vbm.catalog.preferences import Preferences
from vbm.catalog.runs import RunRecord, find_run, insert_runs
from vbm.workflows.admission import Reach, choose
from vbm.workflows.orders import document_of

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
BACKUP = RunRecord(
    id="1",
    execution_id="e",
    job_id="j",
    job_name="nightly",
    vm_uuid="u",
    vm_name="web01",
    vcenter_id="v",
    repository_id="r",
    datastores=("ds",),
    document=document_of("verify"),
    created=NOW,
    state="running",
)
VERIFY = replace(BACKUP, id="2", kind="verify", job_id="", datastores=(), state="queued")
AS_NEW = replace(VERIFY, id="3", kind="restore", parameters={"in_place": False}, datastores=("ds",))
IN_PLACE = replace(AS_NEW, id="4", parameters={"in_place": True})


def test_runs_of_before_are_backups_of_their_jobs(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/vbm.db")
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).with_name("migrations")))
    config.set_main_option("path_separator", "newline")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        names = [row[1] for row in connection.execute(text("PRAGMA table_info(runs)"))]
        given = {"id": "1", "job_id": "j", "state": "succeeded", "created": "2026-11-23 03:00:00.000000"}
        numbers = {"priority", "bytes_total", "bytes_done", "attempts", "token"}
        empty = {name: 0 if name in numbers else "" for name in names} | dict.fromkeys(
            ("started", "reading_since", "finished", "cancel_requested_at", "deadline")
        )
        lists = {"datastores": "[]", "warnings": "[]", "document": "{}", "result": "{}"}
        places = ", ".join(f":{name}" for name in names)
        connection.execute(text(f"INSERT INTO runs VALUES ({places})"), empty | lists | given)
    engine.dispose()
    url = f"sqlite:///{tmp_path}/vbm.db"
    assert Catalog.upgrade(url) == ("0003", schema.HEAD)
    with Catalog.open(url) as catalog:
        with catalog.writing() as session:
            insert_runs(session, [VERIFY])
        with catalog.reading() as session:
            old, new = find_run(session, "1"), find_run(session, "2")
    assert old is not None
    assert (old.kind, old.job_id, old.parameters) == ("backup", "j", {})
    assert new == VERIFY


@pytest.mark.parametrize(("queued", "begins"), [(VERIFY, True), (AS_NEW, True), (IN_PLACE, False)])
def test_only_what_works_on_the_vm_itself_waits_for_its_backup(queued: RunRecord, begins: bool) -> None:
    chosen = choose([BACKUP, queued], Preferences(), NOW)
    assert chosen == (queued if begins else None)


def test_a_verification_takes_no_place_at_a_vcenter_and_needs_no_reach_to_it() -> None:
    full = Preferences(max_runs_per_vcenter=1)
    elsewhere = Reach(vcenters=frozenset({"other"}))
    assert choose([BACKUP, VERIFY], full, NOW, elsewhere) == VERIFY
    assert choose([BACKUP, AS_NEW], full, NOW) is None
    assert choose([AS_NEW], full, NOW, elsewhere) is None
    assert choose([VERIFY], full, NOW, Reach(repositories=frozenset({"other"}))) is None
