"""Who did what: written with the change itself, in one transaction."""

from __future__ import annotations

import getpass
from typing import Any

from vbm.catalog.audit import AuditEntry, Verdict, append_entry, entries, verify
from vbm.catalog.base import Transaction
from vbm.services.workspace import Workspace


def note(
    workspace: Workspace, session: Transaction, action: str, target: str, detail: dict[str, Any] | None = None
) -> None:
    """Append to the audit trail within the caller's transaction."""
    append_entry(session, AuditEntry(workspace.clock.now(), actor(), action, target, detail or {}))


def actor() -> str:
    """The account at the command line."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container without a passwd entry
        return "cli"


def listing(workspace: Workspace, *, before: int = 0, limit: int = 100) -> list[AuditEntry]:
    """The newest first."""
    with workspace.catalog.reading() as session:
        return entries(session, before=before, limit=limit)


def check(workspace: Workspace) -> Verdict:
    """Walk the chain of hashes."""
    with workspace.catalog.reading() as session:
        return verify(session)
