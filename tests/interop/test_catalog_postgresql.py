"""The catalog on a real PostgreSQL server, started for these tests with its data in a temporary folder."""

import os
import pwd
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from vbm.catalog import schema
from vbm.catalog.catalog import METADATA, Catalog
from vbm.catalog.engine import connect, parse_url
from vbm.catalog.errors import CatalogError, CatalogVersionError, NameTakenError
from vbm.catalog.runs import RunRecord, RunRow, insert_runs
from vbm.catalog.totals import all_totals, count_run
from vbm.catalog.vcenters import VcenterRecord, all_vcenters, insert_vcenter
from vbm.services import metrics
from vbm.services.workspace import Workspace
from vbm.settings import Settings

pytest.importorskip("psycopg", reason="the driver for PostgreSQL is not installed")


def _programs() -> Path:
    found = shutil.which("initdb") or next(Path("/usr/lib/postgresql").glob("*/bin/initdb"), None)
    if found is None:
        pytest.skip("PostgreSQL's initdb is not installed")
    return Path(found).resolve().parent


def _run(account: str | None, *command: str | Path) -> None:
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        user=account,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
    )


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server on a socket in a short path of its own; its address without a database."""
    programs = _programs()
    account = None
    if os.geteuid() == 0:  # the server refuses to run as root
        try:
            account = pwd.getpwnam("postgres").pw_name
        except KeyError:
            account = "nobody"
    with tempfile.TemporaryDirectory(prefix="vbm-pg-", dir="/tmp") as folder:
        if account:
            shutil.chown(folder, account)
        data = Path(folder) / "data"
        _run(account, programs / "initdb", "--no-sync", "-A", "trust", "-U", "vbm", "-E", "UTF8", "-D", data)
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        _run(
            account, programs / "pg_ctl", "-w", "-D", data, "-l", Path(folder) / "log", "-o", options, "start"
        )
        try:
            yield f"postgresql://vbm@/{{}}?host={folder}"
        finally:
            _run(account, programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest) -> str:
    name = f"t{abs(hash(request.node.name)):x}"[:40]
    engine = connect(parse_url(server.format("postgres")))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return server.format(name)


def vcenter(name: str) -> VcenterRecord:
    return VcenterRecord(
        id=f"id-{name}",
        name=name,
        host="vc",
        port=443,
        username="u",
        thumbprint="",
        ca_file="/ca.pem",
        product="p",
        instance_uuid="i",
        created=datetime(2026, 11, 23, 6, 48, 37, 123000, tzinfo=UTC),
        sealed_password="s",
    )


def test_the_tables_are_those_of_the_models_and_records_come_back(url: str) -> None:
    with Catalog.open(url) as catalog:
        with catalog.writing() as session:
            insert_vcenter(session, vcenter("Prod ünï"))
        with catalog.reading() as session:
            assert all_vcenters(session) == [vcenter("Prod ünï")]
        with pytest.raises(NameTakenError), catalog.writing() as session:
            insert_vcenter(session, vcenter("PROD ÜNÏ"))
    engine = connect(parse_url(url))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_first_starts_of_several_machines_at_once_make_one_schema(url: str) -> None:
    failures: list[Exception] = []
    start = threading.Barrier(4)

    def first_start() -> None:
        try:
            start.wait()
            Catalog.open(url).close()
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=first_start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_runs_that_end_at_once_on_several_machines_are_all_counted(url: str, tmp_path: Path) -> None:
    now = datetime(2026, 11, 23, 6, 48, tzinfo=UTC)
    machines, each = 4, 5
    with Catalog.open(url) as catalog:
        with catalog.writing() as session:
            insert_vcenter(session, vcenter("main"))
        start = threading.Barrier(machines)

        def end_some(machine: int) -> None:
            start.wait(10)
            for number in range(each):
                run = RunRecord(
                    f"{machine}-{number}", "", "", "", "u", f"web{machine}", "id-main", "r", (), {}, now,
                    state="succeeded", started=now, finished=now, result={"bytes_new": 7},
                )  # fmt: skip
                with catalog.writing() as session:
                    insert_runs(session, [run])
                    count_run(session, session.get_one(RunRow, run.id))

        threads = [threading.Thread(target=end_some, args=(machine,)) for machine in range(machines)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        with catalog.reading() as session:
            found = all_totals(session)
    assert [t.succeeded for t in found if t.kind == "backup"] == [each] * machines
    assert [t.sizes["new"] for t in found if t.kind == "volume"] == [7 * machines * each]
    with Workspace(Settings(tmp_path, url)) as space:
        told = metrics.gather(space)
    assert told.values["backup_bytes_total"][2] == (("main", "new"), 7 * machines * each)
    assert told.values["queue_depth"] == [((), 0)]


def test_a_newer_schema_is_refused(url: str) -> None:
    Catalog.open(url).close()
    engine = connect(parse_url(url))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(CatalogVersionError, match="newer"):
        Catalog.open(url)
    with pytest.raises(CatalogVersionError, match="newer"):
        Catalog.upgrade(url)
    assert schema.HEAD != "9999"


def test_a_server_that_is_not_there_is_one_error_without_the_password() -> None:
    with pytest.raises(CatalogError) as caught:
        Catalog.open("postgresql://vbm:hunter2@127.0.0.1:1/vbm")
    assert "hunter2" not in caught.value.message
    assert "VBM_DATABASE_URL" in caught.value.hint
