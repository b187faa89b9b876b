"""A repository by its address alone: needs no database."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from vbm.errors import InputError
from vbm.objectstore.registry import open_store
from vbm.repository.keys import KeySource
from vbm.repository.repository import Repository


def open_at(url: str, key: KeySource) -> Repository:
    """The repository at that address. The caller closes it."""
    return Repository.open(open_store(absolute(url)), key)


def absolute(url: str) -> str:
    """The address; a bare path becomes a ``file://`` one, for those who type it. Raises InputError."""
    url = url.strip()
    if not url:
        raise InputError("the repository's address is empty", hint="write it like file:///backup/repository")
    if ".." in unquote(url).split("/"):
        raise InputError(f"the repository's address goes up with '..': {url!r}", hint="write the whole path")
    if "://" in url:
        return url
    return Path(url).expanduser().absolute().as_uri()
