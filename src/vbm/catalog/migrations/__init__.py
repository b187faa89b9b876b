"""Alembic migrations of the catalog, run from within the program by ``vbm.catalog.schema``."""
