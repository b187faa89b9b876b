"""Names from an embedded catalog for the shell's completion: quick, read-only, silent about any trouble."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Final
from urllib.parse import quote

_PREFIX: Final = "sqlite:///"
_QUERIES: Final = {
    "vcenters": "SELECT name FROM vcenters ORDER BY name_key",
    "repositories": "SELECT name FROM repositories ORDER BY name_key",
}


def names(database_url: str, table: str) -> list[str]:
    """Names in that table; none where the database is missing, busy, damaged or not SQLite."""
    if not database_url.startswith(_PREFIX):
        return []
    path = quote(database_url.removeprefix(_PREFIX))
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0.2)) as connection:
            return [str(row[0]) for row in connection.execute(_QUERIES[table])]
    except sqlite3.Error:
        return []
