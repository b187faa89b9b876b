"""The database connection: SQLite in WAL mode below VBM_HOME, or PostgreSQL for several machines."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from vbm.catalog.errors import CatalogReadOnlyError
from vbm.clock import SystemClock
from vbm.errors import InputError

READ_ONLY: Final = "vbm_read_only"  # execution option: this transaction takes no write lock
_BUSY_SECONDS: Final = 15
PAUSE_SECONDS: Final = 15  # no transaction of ours waits for anything but the database
_KEEPALIVE: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}


def parse_url(text: str) -> URL:
    """The database address; ``postgresql://`` means the psycopg driver. InputError names no password."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise InputError(
            "VBM_DATABASE_URL is not a database address",
            hint="write sqlite:////path/vbm.db or postgresql://user@host/database",
        ) from None
    if url.get_backend_name() not in {"sqlite", "postgresql"}:
        raise InputError(
            f"VBM_DATABASE_URL: {url.get_backend_name()} databases are not supported",
            hint="use SQLite or PostgreSQL",
        )
    return url.set(drivername="postgresql+psycopg") if url.get_backend_name() == "postgresql" else url


def connect(url: URL, *, busy_seconds: int = _BUSY_SECONDS) -> Engine:
    """An engine on which every transaction is serialisable enough to read, decide and write.

    SQLite: WAL, foreign keys, full fsync, BEGIN IMMEDIATE unless the transaction is marked READ_ONLY. PostgreSQL: no
    transaction outlives a pause of PAUSE_SECONDS.
    """
    if url.get_backend_name() != "sqlite":
        engine = create_engine(url, pool_pre_ping=True, connect_args=_watchful(url))
        event.listen(engine, "connect", _pause_at_most)
        return engine
    if url.database and url.database != ":memory:":
        _private_file(Path(url.database))
    engine = create_engine(url, connect_args={"timeout": busy_seconds})
    event.listen(engine, "connect", lambda connection, _record: _prepare(connection, busy_seconds))
    event.listen(engine, "begin", _begin)
    return engine


def _watchful(url: URL) -> dict[str, int]:
    """How libpq finds out that the server is gone, where the address says nothing of it: in half a minute."""
    return {name: value for name, value in _KEEPALIVE.items() if name not in url.query}


def _pause_at_most(connection: Any, _record: Any) -> None:
    """A process that freezes within a transaction, or a host that is cut off, loses it and the locks that it holds.

    Where the server or the address says a time, that one holds.
    """
    name = "'idle_in_transaction_session_timeout'"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT set_config({name}, '{PAUSE_SECONDS}s', false) WHERE current_setting({name}) = '0'"
        )
    connection.commit()


def _private_file(path: Path) -> None:
    """The file exists, readable by its owner alone, before SQLite opens it; so do its folders."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise CatalogReadOnlyError(
            f"the catalog {path} can't be opened: {error.strerror}",
            hint="make the folder writable for this user, or point VBM_HOME at one that is",
        ) from error


def _prepare(connection: sqlite3.Connection, busy_seconds: float) -> None:
    connection.isolation_level = None  # the driver opens no transaction of its own
    _use_wal(connection, busy_seconds)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _use_wal(connection: sqlite3.Connection, busy_seconds: float) -> None:
    """Switch to WAL. SQLite does not wait for locks here, so two first starts at once have to."""
    clock = SystemClock()
    deadline = clock.monotonic() + busy_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").fetchall()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or clock.monotonic() >= deadline:
                raise
        clock.sleep(0.02)


def _begin(connection: Connection) -> None:
    read_only = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
