"""Names offered by the shell's completion, read from the catalog without opening it for real."""

from __future__ import annotations

from vbm.catalog.peek import names
from vbm.settings import Settings


def complete_vcenter(incomplete: str) -> list[str]:
    """vCenters whose name starts so."""
    return _starting("vcenters", incomplete)


def complete_repository(incomplete: str) -> list[str]:
    """Repositories whose name starts so."""
    return _starting("repositories", incomplete)


def _starting(table: str, incomplete: str) -> list[str]:
    known = names(Settings.from_environment().database_url, table)
    return [name for name in known if name.casefold().startswith(incomplete.casefold())]
