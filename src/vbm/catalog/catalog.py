"""The catalog: names, addresses and sealed secrets, in one database. Plain values come out, never rows.

A restore never depends on it: repositories carry everything that a restore needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

from sqlalchemy import Engine, MetaData
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

from vbm.catalog import (
    audit,
    channels,
    deliveries,
    executions,
    half_made,
    idempotency,
    jobs,
    preferences,
    repositories,
    repository_usage,
    restore_points,
    run_log,
    runs,
    schema,
    snapshots,
    totals,
    users,
    vcenters,
    workers,
)
from vbm.catalog.base import Base
from vbm.catalog.copy import copy_embedded
from vbm.catalog.engine import READ_ONLY, connect, parse_url
from vbm.catalog.faults import explained

# One module per aggregate; naming them here loads every table for the migrations.
METADATA: Final[MetaData] = Base.metadata
_AGGREGATES: Final = (
    vcenters,
    repositories,
    jobs,
    executions,
    half_made,
    runs,
    run_log,
    restore_points,
    snapshots,
    channels,
    deliveries,
    audit,
    workers,
    preferences,
    users,
    idempotency,
    totals,
    repository_usage,
)


class Catalog:
    """A connection to the database. Thread-safe: each unit of work has a session of its own."""

    def __init__(self, engine: Engine, url: URL) -> None:
        self._engine = engine
        self._url = url

    @classmethod
    def open(cls, database_url: str, *, busy_seconds: int = 15) -> Catalog:
        """Connect, giving an empty database its tables. Raises the errors of ``catalog.errors``."""
        catalog = cls._connect(database_url, busy_seconds)
        try:
            schema.ensure(catalog._engine, catalog._url)
        except BaseException:
            catalog.close()
            raise
        return catalog

    @classmethod
    def upgrade(cls, database_url: str) -> tuple[str | None, str]:
        """Bring the tables to this version: (revision before, None where empty; revision after)."""
        with cls._connect(database_url, 60) as catalog:
            return schema.upgrade(catalog._engine, catalog._url)

    @classmethod
    def _connect(cls, database_url: str, busy_seconds: int) -> Catalog:
        url = parse_url(database_url)
        return cls(connect(url, busy_seconds=busy_seconds), url)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view of the database; never waits for a writer on SQLite."""
        with (
            explained(self._url),
            self._engine.connect().execution_options(**{READ_ONLY: True}) as connection,
            Session(connection) as session,
        ):
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One transaction that holds the write lock from its start; all of it is kept, or nothing."""
        with explained(self._url), Session(self._engine) as session, session.begin():
            yield session

    def copy_to(self, output: Path) -> bool:
        """Write a consistent copy to a new file; False on PostgreSQL, which has its own ways. Raises CatalogError."""
        return copy_embedded(self._url, output)

    def close(self) -> None:
        """Give connections back. May be called twice."""
        self._engine.dispose()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
