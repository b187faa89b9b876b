"""The database's answer to what lies within a scope is the scope's own, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest

from fixtures_postgresql import postgresql
from vbm.catalog.catalog import Catalog
from vbm.catalog.restore_points import PointFilter, PointRecord, list_points, put_points
from vbm.catalog.runs import RunFilter, RunRecord, insert_runs, list_runs
from vbm.catalog.vcenters import VcenterRecord, insert_vcenter
from vbm.catalog.vm_places import covers_vm, drop_folders, folders_of, put_folders
from vbm.policy.scope import Scope
from vbm.workflows.orders import document_of

NOW = datetime(2026, 11, 24, tzinfo=UTC)
FOLDERS = (
    None,
    "",
    "Prod",
    "prod2",
    "prod/Web",
    "prod/web/alt",
    "pröd",
    "PRÖD/x",
    "p%",
    "p_od/x",
    "日本/web",
)
SCOPES = (
    *((f"a/{folder}",) for folder in FOLDERS if folder),
    *(("a",), ("b",), ("a", "b"), ("a/prod", "b/Prod/Web"), ("b", "a/p%"), ("gone",), ("gone/prod",)),
    ("a/日本", "a/PRÖD"),
)


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/vbm.db"
        if request.param == "postgresql":
            url = stack.enter_context(postgresql()).url.format("postgres")
        yield stack.enter_context(closing(Catalog.open(url)))


def _fill(catalog: Catalog) -> list[tuple[str, str, str | None]]:
    """(vCenter, UUID, folder) of one VM in each folder of each vCenter, with a run and a restore point."""
    found = [(v, f"{v}{n}", folder) for (n, folder), v in product(enumerate(FOLDERS), ("a", "b"))]
    with catalog.writing() as session:
        for name in ("a", "b"):
            record = VcenterRecord(
                name, f"vc {name}", "h", 1, "u", "00" * 32, "", "", "", NOW, sealed_password=""
            )
            insert_vcenter(session, record)
            put_folders(session, name, {uuid: folder for v, uuid, folder in found if v == name})
        for number, (vcenter, uuid, _) in enumerate(found):
            run = RunRecord(
                f"r{number}",
                "",
                "",
                "",
                uuid,
                uuid,
                vcenter,
                "store",
                (),
                document_of("verify"),
                NOW,
                kind="verify",
            )
            insert_runs(session, [run])
            name = f"vc {vcenter}"
            point = PointRecord(
                f"p{number}", "store", uuid, uuid, name, NOW, NOW, "full", "crash", 1, 1, "", "r"
            )
            put_points(session, [point])
    return found


def test_the_database_and_the_scope_agree(catalog: Catalog) -> None:
    machines = _fill(catalog)
    with catalog.reading() as session:
        for scope in (Scope.of(texts) for texts in SCOPES):
            wanted = {uuid for vcenter, uuid, folder in machines if scope.covers(vcenter, folder)}
            assert {run.vm_uuid for run in list_runs(session, RunFilter(scope=scope))} == wanted, scope
            assert {point.vm_uuid for point in list_points(session, PointFilter(scope=scope))} == wanted, (
                scope
            )
            seen = {uuid for vcenter, uuid, _ in machines if covers_vm(session, scope, vcenter, uuid)}
            assert seen == wanted, scope


def test_several_that_read_one_inventory_write_it_down_at_once(catalog: Catalog) -> None:
    found = {f"u{number}": f"folder {number % 7}" for number in range(1200)}
    start, failures = threading.Barrier(4), []

    def work() -> None:
        start.wait(10)
        try:
            with catalog.writing() as session:
                put_folders(session, "a", found)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test fails by it
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with catalog.reading() as session:
        assert folders_of(session, "a") == found


def test_a_vm_that_moves_is_seen_where_it_is_and_one_that_goes_where_it_was(catalog: Catalog) -> None:
    _fill(catalog)
    blue = Scope.of(["a/blue"])
    with catalog.writing() as session:
        put_folders(session, "a", {"a0": "Blue", "a1": None})
    with catalog.reading() as session:
        assert [run.vm_uuid for run in list_runs(session, RunFilter(scope=blue))] == ["a0"]
        assert "a1" not in folders_of(session, "a")
    with catalog.writing() as session:
        drop_folders(session, "a")
    with catalog.reading() as session:
        assert list_runs(session, RunFilter(scope=blue)) == []
        assert len(list_runs(session, RunFilter(scope=Scope.of(["a"])))) == len(FOLDERS)
