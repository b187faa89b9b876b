"""Which version of the tables the database has, and bringing it to the one that this code knows.

An empty database is given its tables at once. An older one waits for ``vbm db upgrade``; one written
by a newer version of the product is refused. Two processes may start on an empty database at the
same time: the one that comes second finds the work done.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.engine import URL

from vbm.catalog.errors import CatalogVersionError
from vbm.catalog.faults import explained

REVISIONS: Final = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
    "0009",
    "0010",
    "0011",
)  # every migration of this version, oldest first
HEAD: Final = REVISIONS[-1]
_MIGRATIONS: Final = Path(__file__).with_name("migrations")
_ADVISORY_LOCK: Final = 0x76626D  # "vbm": one migration at a time on PostgreSQL


def current_revision(connection: Connection) -> str | None:
    """The revision that the database is at; None where it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def ensure(engine: Engine, url: URL) -> None:
    """The database has this version's tables afterwards. Raises CatalogVersionError where it can't be so."""
    with explained(url), engine.connect().execution_options(vbm_read_only=True) as connection:
        revision = current_revision(connection)
    if revision is None:
        upgrade(engine, url)
    elif revision not in REVISIONS:
        raise _too_new(url, revision)
    elif revision != HEAD:
        raise CatalogVersionError(
            f"the catalog {_where(url)} is at version {revision}, this program needs {HEAD}",
            hint="run: vbm db upgrade",
        )


def upgrade(engine: Engine, url: URL) -> tuple[str | None, str]:
    """Bring the tables to HEAD in one transaction: (revision before, revision after)."""
    with explained(url), engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        before = current_revision(connection)
        if before is not None and before not in REVISIONS:
            raise _too_new(url, before)
        if before != HEAD:
            _migrate(connection)
        return before, HEAD


def _migrate(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - half a second of imports, needed once in a database's life
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)


def _too_new(url: URL, revision: str) -> CatalogVersionError:
    return CatalogVersionError(
        f"the catalog {_where(url)} was written by a newer version (its schema is {revision}, "
        f"this program knows {HEAD})",
        hint="use the newer vbm, or point VBM_HOME at another folder",
    )


def _where(url: URL) -> str:
    return url.render_as_string(hide_password=True)
