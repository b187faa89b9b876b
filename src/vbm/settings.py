"""Settings: ``VBM_*`` environment variables, read once at the edge and passed down."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the product keeps its state and what was asked of it by the environment."""

    home: Path
    database_url: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """``VBM_HOME`` (default ``~/.local/share/vbm``) and ``VBM_DATABASE_URL`` (default SQLite in it)."""
        home = Path(environment.get("VBM_HOME") or Path.home() / ".local/share/vbm").expanduser().absolute()
        return cls(home=home, database_url=environment.get("VBM_DATABASE_URL") or f"sqlite:///{home}/vbm.db")
