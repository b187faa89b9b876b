"""Removing our snapshots until nothing of them is left: not in the tree, not in the disks' chains."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar, Final

from vbm.cancel import CancelToken
from vbm.errors import CancelledError, VbmError
from vbm.ids import MoRef
from vbm.retry import RetryPolicy, is_transient, retry
from vbm.vsphere import tasks
from vbm.vsphere.faults import ObjectGoneError, UnsupportedCallError, VsphereFaultError
from vbm.vsphere.session import Session
from vbm.vsphere.snapshot_tree import ChainState, chain_state, find_named, settle, wait_out
from vbm.vsphere.tasks import OnProgress

REMOVALS: Final = RetryPolicy(attempts=4, first_seconds=2, longest_seconds=60)
_log = logging.getLogger(__name__)


class SnapshotRemovalError(VbmError):
    """Our snapshot is still there; it must be tried again later and people be told."""

    code = "snapshot-left"
    permanent: ClassVar[bool] = False


class ConsolidationNeededError(SnapshotRemovalError):
    """The snapshot left the tree but its files are still in the disks' chains."""

    code = "consolidation-needed"


@dataclass(frozen=True, slots=True)
class RemoveResult:
    removed: bool  # no snapshot of that name exists any more
    consolidated: bool  # the disks had to be consolidated by a task of its own
    vm_gone: bool = False


def remove(
    session: Session,
    vm: MoRef,
    snapshot_name: str,
    cancel: CancelToken | None = None,
    *,
    on_progress: OnProgress | None = None,
    policy: RetryPolicy = REMOVALS,
) -> RemoveResult:
    """Remove the snapshot of that name and its files, keeping snapshots that others made on top of it.

    Found by name at every attempt. Waits without a time limit, for consolidation may take hours; ``cancel`` ends
    the waiting only. One that is gone already, or whose VM is gone, counts as removed.
    Raises SnapshotRemovalError or ConsolidationNeededError when the attempts are used up.
    """
    waiting = cancel or CancelToken()
    try:
        return _remove(session, vm, snapshot_name, waiting, on_progress, policy)
    except ObjectGoneError:
        if _exists(session, vm):
            raise
        return RemoveResult(removed=True, consolidated=False, vm_gone=True)


def consolidate(
    session: Session, vm: MoRef, cancel: CancelToken | None = None, *, policy: RetryPolicy = REMOVALS
) -> None:
    """Merge deltas that no snapshot needs any more into the disks. Raises ConsolidationNeededError."""
    waiting = cancel or CancelToken()
    settle(session, vm, waiting)
    if chain_state(session, vm).consolidation_needed:
        _consolidate(session, vm, "a snapshot", waiting, None, policy)


def _remove(
    session: Session,
    vm: MoRef,
    name: str,
    cancel: CancelToken,
    on_progress: OnProgress | None,
    policy: RetryPolicy,
) -> RemoveResult:
    session.renew()  # the copy may have taken hours
    settle(session, vm, cancel)
    before: ChainState | None = None
    if find_named(session, vm, name) is not None:
        before = chain_state(session, vm)
        _until_gone(session, vm, name, cancel, on_progress, policy)
    if not _needs_consolidation(before, chain_state(session, vm)):
        return RemoveResult(removed=True, consolidated=False)
    _consolidate(session, vm, name, cancel, on_progress, policy)
    return RemoveResult(removed=True, consolidated=True)


def _until_gone(
    session: Session,
    vm: MoRef,
    name: str,
    cancel: CancelToken,
    on_progress: OnProgress | None,
    policy: RetryPolicy,
) -> None:
    def attempt() -> None:
        found = find_named(session, vm, name)
        if found is None:
            return
        reference = session.snapshot(found.snapshot)
        try:
            task = session.call(
                lambda _c: reference.RemoveSnapshot_Task(removeChildren=False, consolidate=True)
            )
            tasks.wait_for(session, task, cancel=cancel, on_progress=on_progress)
        except CancelledError:
            raise
        except VbmError as error:
            _after_failure(session, vm, error, cancel)
            if find_named(session, vm, name) is not None:
                raise _left(session, name, found.vm_name, error) from error
        if find_named(session, vm, name) is not None:
            raise _left(session, name, found.vm_name, None)

    retry(attempt, policy, cancel, on_retry=_say_retry)


def _after_failure(session: Session, vm: MoRef, error: VbmError, cancel: CancelToken) -> None:
    """Let the task that stood in the way end, before looking whether the snapshot is still there."""
    other = getattr(error.__cause__, "task", None)  # TaskInProgress names it
    if other is not None:
        wait_out(session, other, cancel)
    elif is_transient(error):
        settle(session, vm, cancel)


def _left(session: Session, name: str, vm_name: str, error: VbmError | None) -> SnapshotRemovalError:
    why = error.message if error else "the task succeeded but the snapshot is still in the tree"
    return SnapshotRemovalError(
        f"the snapshot {name} of {vm_name} in {session.where} is not removed: {why}",
        hint="look for a lock by another proxy or product; it is tried again, or remove it in the vSphere Client",
        snapshot=name,
    )


def _needs_consolidation(before: ChainState | None, after: ChainState) -> bool:
    """The server says so, or a chain is as long as it was with our snapshot in it."""
    if after.consolidation_needed:
        return True
    if before is None:
        return False
    return any(depth > 1 and after.depths.get(key, 0) >= depth for key, depth in before.depths.items())


def _consolidate(
    session: Session,
    vm: MoRef,
    name: str,
    cancel: CancelToken,
    on_progress: OnProgress | None,
    policy: RetryPolicy,
) -> None:
    reference = session.vm(vm)

    def attempt() -> None:
        try:
            task = session.call(lambda _c: reference.ConsolidateVMDisks_Task())
            tasks.wait_for(session, task, cancel=cancel, on_progress=on_progress)
        except (CancelledError, UnsupportedCallError):
            raise
        except VbmError as error:
            _after_failure(session, vm, error, cancel)
            if chain_state(session, vm).consolidation_needed:
                raise _unconsolidated(session, vm, name, error) from error
        if chain_state(session, vm).consolidation_needed:
            raise _unconsolidated(session, vm, name, None)

    retry(attempt, policy, cancel, on_retry=_say_retry)


def _unconsolidated(
    session: Session, vm: MoRef, name: str, error: VbmError | None
) -> ConsolidationNeededError:
    why = error.message if error else "the task succeeded but vSphere still asks for it"
    heads = ", ".join(chain_state(session, vm).heads)
    return ConsolidationNeededError(
        f"the disks of {vm} in {session.where} are not consolidated after the removal of {name}: {why}",
        hint=f"its disks run on {heads}; a proxy may hold one of the files; it is tried again",
        snapshot=name,
    )


def _exists(session: Session, vm: MoRef) -> bool:
    try:
        chain_state(session, vm)
    except ObjectGoneError:
        return False
    return True


def _say_retry(error: Exception, failures: int) -> None:
    known = error.context.get("fault", "") if isinstance(error, VsphereFaultError) else ""
    _log.warning("removal attempt %d failed: %s %s", failures, error, known)
