"""Folders of VMs as people name them: the path below a datacenter's VM folder; case and outer slashes say nothing."""

from __future__ import annotations

from functools import lru_cache


def folder_key(path: str) -> str:
    """Equal for paths that mean the same folder; empty for the root."""
    return path.strip("/").casefold()


@lru_cache(maxsize=65536)  # thousands of VMs lie in some hundred folders
def lies_in(path: str, folder: str) -> bool:
    """Whether ``path`` is that folder or below it: ``prod2`` is not below ``prod``."""
    wanted, actual = folder_key(folder), folder_key(path)
    return actual == wanted or actual.startswith(f"{wanted}/")
