"""What can go wrong with the catalog's database, each with what to do about it."""

from __future__ import annotations

from vbm.errors import DamagedError, InputError, NotAllowedError, NotFoundError, TransientError, VbmError


class CatalogError(VbmError):
    """The database can't be reached or refuses to work."""

    code = "catalog-unavailable"


class CatalogLockedError(TransientError):
    """Another process holds the database for longer than the busy time-out."""

    code = "catalog-locked"


class CatalogReadOnlyError(NotAllowedError):
    """The database or its folder can't be written."""

    code = "catalog-read-only"


class CatalogFullError(VbmError):
    """No space is left for the database. Nothing of the change was kept."""

    code = "catalog-full"


class CatalogDamagedError(DamagedError):
    """The file is not a database, or is a damaged one."""

    code = "catalog-damaged"


class CatalogVersionError(VbmError):
    """The database was written by another version of the product."""

    code = "catalog-version"


class NameTakenError(InputError):
    """Something of that name is there already."""

    code = "name-taken"


class UnknownNameError(NotFoundError):
    """Nothing of that name is in the catalog."""

    code = "unknown-name"
