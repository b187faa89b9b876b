"""Modules that are loaded when something of them is first used, so that a command waits for no more than it needs.

Type checkers are shown the import itself::

    if TYPE_CHECKING:
        from vbm.services import repositories
    else:
        repositories = later("vbm.services.repositories")
"""

from __future__ import annotations

import importlib
from typing import Any


class _Later:
    """Stands for a module."""

    def __init__(self, name: str) -> None:
        self._module_name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._module_name), attribute)

    def __repr__(self) -> str:
        return f"later({self._module_name!r})"


def later(name: str) -> Any:
    """The module of that name; errors of loading it come where it is first used."""
    return _Later(name)
