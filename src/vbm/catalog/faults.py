"""Database exceptions turned into the catalog's errors: one sentence each, never a driver's text alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from vbm.catalog.errors import (
    CatalogDamagedError,
    CatalogError,
    CatalogFullError,
    CatalogLockedError,
    CatalogReadOnlyError,
)
from vbm.errors import InputError, VbmError


@contextmanager
def explained(url: URL) -> Iterator[None]:
    """Errors of the body that come from the database are raised as CatalogError and its like."""
    try:
        yield
    except SQLAlchemyError as error:
        if "NUL (0x00)" in str(error):  # PostgreSQL keeps none
            raise InputError("a text holds a NUL character", hint="leave it out") from error
        raise _translate(error, url) from error


def _translate(error: SQLAlchemyError, url: URL) -> VbmError:
    where = url.database if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    text = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    low = text.lower()
    if "locked" in low or "busy" in low:
        return CatalogLockedError(
            f"the catalog {where} is locked by another process",
            hint="wait for other vbm commands to end and try again",
        )
    if "readonly" in low or "read-only" in low:
        return CatalogReadOnlyError(
            f"the catalog {where} can't be written: {text}",
            hint="make the folder writable for this user, or point VBM_HOME at one that is",
        )
    if "unable to open database file" in low:
        return CatalogReadOnlyError(
            f"the catalog {where} can't be opened",
            hint="check that the folder exists and is writable for this user, or set VBM_HOME to another",
        )
    if "full" in low or "disk i/o error" in low:
        return CatalogFullError(
            f"the catalog {where} can't be written: {text}",
            hint="free space on that file system; nothing of this change was kept",
        )
    if "malformed" in low or "not a database" in low:
        return CatalogDamagedError(
            f"the catalog {where} is damaged: {text}",
            hint="move the file away and add vCenters and repositories again; "
            "restore points are in the repositories and are not affected",
        )
    return CatalogError(f"the catalog {where} failed: {text}", hint="check VBM_DATABASE_URL and the database")
