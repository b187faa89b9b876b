"""What the use cases stand on: settings, the clock, and the catalog and vault, opened when first needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from vbm.clock import Clock, SystemClock
from vbm.later import later
from vbm.security.vault import Vault
from vbm.settings import Settings

if TYPE_CHECKING:
    from vbm.catalog import catalog as catalogs
    from vbm.catalog.catalog import Catalog
else:
    catalogs = later("vbm.catalog.catalog")


class Workspace:
    """One process's view of VBM_HOME. A context manager; one thread at a time opens what it holds."""

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, environment: Mapping[str, str] = os.environ
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self._environment = environment
        self._catalog: Catalog | None = None
        self._vault: Vault | None = None

    @classmethod
    def from_environment(cls) -> Workspace:
        """The workspace that ``VBM_HOME`` and ``VBM_DATABASE_URL`` describe."""
        return cls(Settings.from_environment())

    @property
    def catalog(self) -> Catalog:
        """The database, given its tables if it is new. Raises the errors of ``catalog.errors``."""
        if self._catalog is None:
            self._catalog = catalogs.Catalog.open(self.settings.database_url)
        return self._catalog

    @property
    def vault(self) -> Vault:
        """The vault, its key made if there is none. Raises MasterKeyError."""
        if self._vault is None:
            self._vault = Vault.open(self.settings.home, self._environment)
        return self._vault

    def close(self) -> None:
        """Close the database. May be called twice."""
        if self._catalog is not None:
            self._catalog.close()
            self._catalog = None

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
