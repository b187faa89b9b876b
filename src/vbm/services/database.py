"""The product's own database: upgrading its tables."""

from __future__ import annotations

from vbm.catalog.catalog import Catalog
from vbm.settings import Settings


def upgrade() -> tuple[str | None, str]:
    """Bring the tables to this version: (revision before, None where empty; revision after)."""
    return Catalog.upgrade(Settings.from_environment().database_url)
