"""A consistent copy of an embedded catalog while it is in use (SQLite: VACUUM INTO)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy.engine import URL

from vbm.catalog.errors import CatalogError


def copy_embedded(url: URL, output: Path) -> bool:
    """Write the database to a new file, readable by its owner alone; False where it is not an embedded one.

    Waits for no writer and holds up none. Raises CatalogError.
    """
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return False
    try:
        output.touch(0o600, exist_ok=False)
        source = f"{Path(url.database).absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(source, uri=True)) as connection:
            connection.execute("VACUUM INTO ?", (str(output),))
    except (OSError, sqlite3.Error) as error:
        raise CatalogError(
            f"the catalog {url.database} can't be copied: {error}", hint=f"is there space in {output.parent}?"
        ) from error
    return True
