"""Which VMs have a restore point at all, told from object names alone: no key, no manifest is read."""

from __future__ import annotations

from typing import Final

from vbm.catalog.repositories import RepositoryRecord, all_repositories
from vbm.errors import VbmError
from vbm.ids import VmUuid
from vbm.objectstore.registry import open_store
from vbm.services.workspace import Workspace

_PREFIX: Final = "restore-points/"
_MANIFEST: Final = "/manifest.json"


def protected_vms(workspace: Workspace) -> tuple[frozenset[VmUuid], list[str]]:
    """(VMs with a restore point in any known repository, one sentence for each that could not be asked)."""
    with workspace.catalog.reading() as session:
        known = all_repositories(session)
    found: set[VmUuid] = set()
    warnings = []
    for record in known:
        try:
            found |= _vms_in(record)
        except VbmError as error:
            warnings.append(f"repository {record.name} can't be looked at: {error.message}")
    return frozenset(found), warnings


def _vms_in(record: RepositoryRecord) -> set[VmUuid]:
    store = open_store(record.url)
    try:
        return {
            VmUuid(entry.key.split("/")[1]) for entry in store.list(_PREFIX) if entry.key.endswith(_MANIFEST)
        }
    finally:
        store.close()
