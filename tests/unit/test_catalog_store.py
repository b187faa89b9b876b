"""The catalog on real SQLite files: names, migrations, and what it says when the database is in a bad way."""

import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from vbm.catalog import schema
from vbm.catalog.catalog import METADATA, Catalog
from vbm.catalog.engine import connect, parse_url
from vbm.catalog.errors import (
    CatalogDamagedError,
    CatalogFullError,
    CatalogLockedError,
    CatalogReadOnlyError,
    CatalogVersionError,
    NameTakenError,
    UnknownNameError,
)
from vbm.catalog.names import checked_name
from vbm.catalog.peek import names
from vbm.catalog.repositories import (
    KeyKind,
    RepositoryRecord,
    all_repositories,
    insert_repository,
    repository_by_name,
)
from vbm.catalog.vcenters import (
    VcenterRecord,
    all_vcenters,
    delete_vcenter,
    insert_vcenter,
    vcenter_by_name,
)
from vbm.errors import InputError, Kind

NOW = datetime(2026, 11, 23, 6, 48, 37, 123000, tzinfo=UTC)


def vcenter(name: str, record_id: str = "") -> VcenterRecord:
    return VcenterRecord(
        id=record_id or f"id-{name}",
        name=name,
        host="vc.example.com",
        port=443,
        username="backup",
        thumbprint="ab" * 32,
        ca_file="",
        product="VMware vCenter Server 8.0.3",
        instance_uuid="uuid",
        created=NOW,
        sealed_password="sealed",
    )


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/home/vbm.db"


@pytest.fixture
def catalog(url: str):
    with Catalog.open(url) as opened:
        yield opened


def test_a_vcenter_comes_back_as_it_was_stored(catalog: Catalog, url: str) -> None:
    with catalog.writing() as session:
        insert_vcenter(session, vcenter("Prod [1] %41 ünï"))
    with Catalog.open(url) as again, again.reading() as session:
        assert all_vcenters(session) == [vcenter("Prod [1] %41 ünï")]


def test_a_record_shows_no_sealed_secret(catalog: Catalog) -> None:
    assert "sealed" not in repr(vcenter("a"))


def test_a_repository_comes_back_as_it_was_stored(catalog: Catalog) -> None:
    record = RepositoryRecord(
        id="r1",
        name="main",
        url="file:///backup",
        repository_id="abc",
        key_kind=KeyKind.KEY_FILE,
        key_file="/etc/key",
        chunk_size_bytes=1 << 20,
        compression="default",
        created=NOW,
    )
    with catalog.writing() as session:
        insert_repository(session, record)
    with catalog.reading() as session:
        assert all_repositories(session) == [record]
        assert repository_by_name(session, "MAIN") == record
        assert repository_by_name(session, "r1") == record


def test_names_that_differ_in_case_or_composition_alone_are_one_name(catalog: Catalog) -> None:
    with catalog.writing() as session:
        insert_vcenter(session, vcenter("Süd"))
    for same in ("süd", "SÜD", "Su\u0308d"):
        with pytest.raises(NameTakenError), catalog.writing() as session:
            insert_vcenter(session, vcenter(same, "other"))
    with catalog.reading() as session:
        assert len(all_vcenters(session)) == 1


def test_an_unknown_name_is_answered_with_the_nearest(catalog: Catalog) -> None:
    with catalog.writing() as session:
        insert_vcenter(session, vcenter("production"))
    with catalog.reading() as session, pytest.raises(UnknownNameError) as caught:
        vcenter_by_name(session, "prodution")
    assert "'production'" in caught.value.hint
    assert caught.value.kind is Kind.NOT_FOUND


def test_an_unknown_name_in_an_empty_catalog_is_answered_with_how_to_add_one(catalog: Catalog) -> None:
    with catalog.reading() as session, pytest.raises(UnknownNameError) as caught:
        vcenter_by_name(session, "x")
    assert "vbm vcenter add" in caught.value.hint


def test_removing_is_idempotent(catalog: Catalog) -> None:
    with catalog.writing() as session:
        insert_vcenter(session, vcenter("a"))
    for _ in range(2):
        with catalog.writing() as session:
            delete_vcenter(session, "id-a")
    with catalog.reading() as session:
        assert all_vcenters(session) == []


@pytest.mark.parametrize("bad", ["", "  ", "a\nb", "x" * 201, "esc\x1b[31m", "nul\0"])
def test_a_name_that_no_listing_could_show_is_refused(bad: str) -> None:
    with pytest.raises(InputError):
        checked_name(bad)


def test_a_failed_transaction_leaves_nothing(catalog: Catalog) -> None:
    def half_done() -> None:
        with catalog.writing() as session:
            insert_vcenter(session, vcenter("a"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_done()
    with catalog.reading() as session:
        assert all_vcenters(session) == []


def test_readers_go_on_while_somebody_writes(catalog: Catalog) -> None:
    with catalog.writing() as writer:
        insert_vcenter(writer, vcenter("a"))
        with catalog.reading() as reader:
            assert all_vcenters(reader) == []


def test_the_database_is_private_and_in_wal_mode(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "home/vbm.db"
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    raw.close()


def test_migrations_make_what_the_models_say(url: str) -> None:
    Catalog.open(url).close()
    engine = connect(parse_url(url))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_the_known_revisions_are_those_of_the_scripts() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).with_name("migrations")))
    config.set_main_option("path_separator", "newline")
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [schema.HEAD]
    assert {s.revision for s in scripts.walk_revisions()} == set(schema.REVISIONS)


def test_upgrading_says_from_what_to_what(url: str) -> None:
    assert Catalog.upgrade(url) == (None, schema.HEAD)
    assert Catalog.upgrade(url) == (schema.HEAD, schema.HEAD)


def test_many_first_starts_at_once_make_one_database(url: str) -> None:
    failures: list[Exception] = []
    start = threading.Barrier(6)

    def first_start() -> None:
        try:
            start.wait()
            Catalog.open(url).close()
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=first_start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_newer_database_is_refused_by_start_and_by_upgrade(url: str, tmp_path: Path) -> None:
    Catalog.open(url).close()
    with sqlite3.connect(tmp_path / "home/vbm.db") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    for attempt in (Catalog.open, Catalog.upgrade):
        with pytest.raises(CatalogVersionError, match="newer version"):
            attempt(url)


def test_a_locked_database_is_a_passing_failure(url: str, tmp_path: Path) -> None:
    Catalog.open(url).close()
    holder = sqlite3.connect(tmp_path / "home/vbm.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with Catalog.open(url, busy_seconds=0) as catalog:
        with pytest.raises(CatalogLockedError) as caught, catalog.writing() as session:
            insert_vcenter(session, vcenter("a"))
        assert not caught.value.permanent
    holder.close()


@pytest.mark.parametrize(
    "content", [b"this is a text file, not a database" * 100, b"SQLite format 3\0" + b"\xff" * 8192]
)
def test_a_file_that_is_no_database_is_called_damaged(url: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/vbm.db").write_bytes(content)
    with pytest.raises(CatalogDamagedError) as caught:
        Catalog.open(url)
    assert caught.value.exit_code == 5
    assert "restore points" in caught.value.hint


def test_a_database_page_damaged_later_is_called_damaged(url: str, tmp_path: Path) -> None:
    with Catalog.open(url) as catalog, catalog.writing() as session:
        for number in range(400):
            insert_vcenter(session, vcenter(f"v{number}"))
    path = tmp_path / "home/vbm.db"
    raw = bytearray(path.read_bytes())
    raw[4096:] = b"\xaa" * (len(raw) - 4096)
    path.write_bytes(raw)
    with pytest.raises(CatalogDamagedError), Catalog.open(url) as catalog, catalog.reading() as session:
        all_vcenters(session)


def test_a_home_below_a_file_is_said_to_be_unusable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogReadOnlyError) as caught:
        Catalog.open(f"sqlite:///{tmp_path}/file/home/vbm.db")
    assert "VBM_HOME" in caught.value.hint


def test_a_full_database_says_so_and_keeps_what_was_there(url: str) -> None:
    with Catalog.open(url) as catalog:
        with catalog.writing() as session:
            insert_vcenter(session, vcenter("kept"))

        def fill() -> None:
            with catalog.writing() as session:
                session.connection().exec_driver_sql("PRAGMA max_page_count = 1")
                for number in range(400):
                    insert_vcenter(session, vcenter(f"v{number}"))

        with pytest.raises(CatalogFullError):
            fill()
    with Catalog.open(url) as catalog, catalog.reading() as session:
        assert [v.name for v in all_vcenters(session)] == ["kept"]


@pytest.mark.parametrize("bad", ["nonsense", "mysql://u:secret@h/d", "://"])
def test_a_wrong_database_address_is_refused_without_showing_it(bad: str) -> None:
    with pytest.raises(InputError) as caught:
        Catalog.open(bad)
    assert "secret" not in caught.value.message


def test_completion_reads_names_and_is_silent_about_trouble(
    catalog: Catalog, url: str, tmp_path: Path
) -> None:
    with catalog.writing() as session:
        insert_vcenter(session, vcenter("b"))
        insert_vcenter(session, vcenter("A"))
    assert names(url, "vcenters") == ["A", "b"]
    assert names(f"sqlite:///{tmp_path}/nowhere.db", "vcenters") == []
    assert names("postgresql://h/d", "vcenters") == []
    assert not (tmp_path / "nowhere.db").exists()
