"""Removes the snapshots that runs have left, killed or unable to remove them; never those of a live process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vbm.engine.checkpoint import RunFolder, remove_orphans
from vbm.engine.ledger import LedgerEntry
from vbm.engine.run_context import RunContext
from vbm.errors import NotFoundError, VbmError
from vbm.ids import MoRef, VmUuid
from vbm.vsphere import inventory, snapshots
from vbm.vsphere.session import Session

RESET_PREFIX: Final = f"{snapshots.SNAPSHOT_PREFIX}cbt-reset-"


@dataclass(frozen=True, slots=True)
class Swept:
    """One leftover and what became of it. ``error`` says why it is still there."""

    snapshot: str
    vm_name: str
    removed: bool
    error: str = ""


def sweep(session: Session, context: RunContext, *, keep_vm: VmUuid | None = None) -> list[Swept]:
    """Remove every leftover snapshot of this vCenter, save those of ``keep_vm``, which a backup may go on from.

    Nothing raises: what can't be removed stays in the ledger and is told to ``context.progress`` as a warning.
    """
    about = session.about.get("instance_uuid", "")
    entries = context.ledger.leftovers(session.endpoint.name, about)
    done = [remove_leftover(session, context, e) for e in entries if keep_vm is None or e.vm_uuid != keep_vm]
    remove_orphans(context.home, lambda: {entry.run_id for entry in context.ledger.entries()})
    return [swept for swept in done if swept is not None]


def remove_leftover(session: Session, context: RunContext, entry: LedgerEntry) -> Swept | None:
    """None where another process has taken care of it meanwhile."""
    claimed = context.ledger.claim(entry)
    return None if claimed is None else remove_claimed(session, context, claimed)


def remove_claimed(session: Session, context: RunContext, entry: LedgerEntry) -> Swept:
    """Remove a snapshot that this process owns in the ledger; cross it out only once it is surely gone."""
    try:
        _remove(session, context, entry)
    except VbmError as error:
        context.ledger.release(entry.snapshot)
        context.progress.warn(
            f"the snapshot {entry.snapshot} of {entry.vm_name} is still there: {error.message}"
        )
        return Swept(entry.snapshot, entry.vm_name, removed=False, error=error.message)
    context.ledger.forget(entry.snapshot)
    RunFolder(context.home, entry.run_id).remove()
    context.progress.note(f"removed the snapshot {entry.snapshot} that was left on {entry.vm_name}")
    return Swept(entry.snapshot, entry.vm_name, removed=True)


def _remove(session: Session, context: RunContext, entry: LedgerEntry) -> None:
    gone = [_remove_named(session, context, entry.vm, name) for name in _names(session, entry, entry.vm)]
    if any(gone) and (moved := _registered_again(session, entry)) is not None:
        for name in _names(session, entry, moved):
            _remove_named(session, context, moved, name)


def _remove_named(session: Session, context: RunContext, vm: MoRef, name: str) -> bool:
    """Whether the VM turned out to be gone."""
    return snapshots.remove(session, vm, name, policy=context.removals).vm_gone


def _names(session: Session, entry: LedgerEntry, vm: MoRef) -> list[str]:
    """A reset of change tracking names its short-lived snapshot itself; all others are named in the ledger."""
    if not entry.snapshot.startswith(RESET_PREFIX):
        return [entry.snapshot]
    try:
        found = snapshots.find_ours(session, vm)
    except NotFoundError:
        return []
    return [s.name for s in found if s.name.startswith(RESET_PREFIX)]


def _registered_again(session: Session, entry: LedgerEntry) -> MoRef | None:
    """The VM's reference where it was removed from the inventory and added again, snapshots and all."""
    try:
        return inventory.find_vm(session, entry.vm_uuid).moref
    except NotFoundError:
        return None
