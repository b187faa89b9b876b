"""Who did what: written with the change itself, in one transaction."""

from __future__ import annotations

from typing import Any

from vbm.catalog.audit import AuditEntry, AuditFilter, Verdict, append_entry, entries, verify
from vbm.catalog.base import Transaction
from vbm.services import identity, repeats
from vbm.services.workspace import Workspace

__all__ = ["AuditEntry", "AuditFilter", "Verdict", "check", "listing", "note", "refused"]


def note(
    workspace: Workspace, session: Transaction, action: str, target: str, detail: dict[str, Any] | None = None
) -> None:
    """Append to the audit trail within the caller's transaction."""
    repeats.applied(session, f"{action} {target}")
    who = identity.current()
    append_entry(
        session, AuditEntry(workspace.clock.now(), who.name, action, target, detail or {}, source=who.source)
    )


def refused(workspace: Workspace, action: str, target: str, code: str) -> None:
    """Write that something was refused, in a transaction of its own."""
    who = identity.current()
    entry = AuditEntry(workspace.clock.now(), who.name, action, target, source=who.source, result=code)
    with workspace.catalog.writing() as session:
        append_entry(session, entry)


def listing(workspace: Workspace, wanted: AuditFilter) -> list[AuditEntry]:
    """The newest first. For administrators without limits: it tells of everything."""
    identity.require_everywhere("see the audit trail")
    with workspace.catalog.reading() as session:
        return entries(session, wanted)


def check(workspace: Workspace) -> Verdict:
    """Walk the chain of hashes."""
    identity.require_everywhere("check the audit trail")
    with workspace.catalog.reading() as session:
        return verify(session)
