"""From a repository's URL to its object store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from vbm.errors import InputError
from vbm.objectstore.base import ObjectStore
from vbm.objectstore.local import LocalStore


def _open_local(url: str) -> ObjectStore:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or path.rstrip("/") == "":
        raise InputError(
            f"not the URL of a folder: {url!r}", hint="write it with three slashes: file:///backup/store"
        )
    return LocalStore(Path(path))


_SCHEMES: Final[dict[str, Callable[[str], ObjectStore]]] = {"file": _open_local}


def open_store(url: str) -> ObjectStore:
    """The store that the URL names. Raises InputError for a scheme that is not known. Opens no connection yet."""
    scheme = urlsplit(url).scheme
    if scheme not in _SCHEMES:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise InputError(f"no store speaks {url.partition('?')[0]!r}", hint=f"use one of {known}")
    return _SCHEMES[scheme](url)
