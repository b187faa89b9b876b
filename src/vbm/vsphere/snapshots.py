"""Creating our snapshots: never twice, never unknown.

A creation whose answer is lost may still succeed minutes later. So the unique name is looked up before every
attempt, after running tasks of the VM have ended, and what is found is adopted.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

from vbm.cancel import CancelToken
from vbm.errors import CancelledError, InputError, VbmError
from vbm.ids import MoRef
from vbm.retry import RetryPolicy, is_transient, retry
from vbm.vsphere import tasks
from vbm.vsphere.faults import ObjectGoneError, fault_keys, fault_names, fault_text
from vbm.vsphere.model import VirtualMachine, VmSnapshot
from vbm.vsphere.session import Session
from vbm.vsphere.snapshot_removal import (
    ConsolidationNeededError,
    RemoveResult,
    SnapshotRemovalError,
    consolidate,
    remove,
)
from vbm.vsphere.snapshot_tree import (
    SNAPSHOT_PREFIX,
    FoundSnapshot,
    NeedsConsolidation,
    Survey,
    describe,
    find_named,
    find_ours,
    settle,
    survey,
)

__all__ = [
    "SNAPSHOT_PREFIX",
    "ConsolidationNeededError",
    "CreatePolicy",
    "FoundSnapshot",
    "NeedsConsolidation",
    "QuiesceFailedError",
    "RemoveResult",
    "SnapshotFailedError",
    "SnapshotRemovalError",
    "Survey",
    "consolidate",
    "create",
    "find",
    "find_ours",
    "remove",
    "survey",
]

_log = logging.getLogger(__name__)


class QuiesceFailedError(VbmError):
    """The guest could not be brought to rest; a snapshot without quiescing may still be made."""

    code = "quiesce-failed"


class SnapshotFailedError(VbmError):
    """vSphere made no snapshot."""

    code = "snapshot-failed"


_BUSY: Final = RetryPolicy(attempts=6, first_seconds=2, longest_seconds=30)
_QUIESCE: Final = RetryPolicy(attempts=3, first_seconds=5, factor=1)


@dataclass(frozen=True, slots=True)
class CreatePolicy:
    """How often and after what waits a creation is tried again."""

    busy: RetryPolicy = _BUSY
    quiesce: RetryPolicy = _QUIESCE


_QUIESCE_FAULTS: Final = {"ApplicationQuiesceFault", "FilesystemQuiesceFault"}
_HINTS: Final = {
    "TooManySnapshotLevels": "remove old snapshots of the VM: vSphere allows 32 levels",
    "MultipleSnapshotsNotSupported": "remove the VM's existing snapshot",
    "SnapshotLocked": "another product has locked the VM's snapshots; wait for it or unlock",
    "SnapshotDisabled": "snapshots are switched off in the VM's options (snapshot.maxSnapshots)",
    "SnapshotIncompatibleDeviceInVm": "a device (raw device mapping, shared bus, passthrough) forbids snapshots",
    "MemorySnapshotOnIndependentDisk": "make the independent disks dependent",
    "InvalidPowerState": "the VM's power state forbids a snapshot now",
}


def create(
    session: Session,
    vm: VirtualMachine,
    name: str,
    description: str,
    *,
    quiesce: bool,
    cancel: CancelToken,
    policy: CreatePolicy | None = None,
) -> VmSnapshot:
    """A snapshot without memory, or the one of this name that an earlier attempt left. ``name`` must be unique.

    ``quiesced`` of the result says whether the guest was at rest indeed: vSphere leaves it out silently where the
    VM is off or has no tools. When cancelled, the creation may still go on: ``remove`` waits for it.
    Raises QuiesceFailedError, SnapshotFailedError, BusyError, NoSpaceError.
    """
    if not name.startswith(SNAPSHOT_PREFIX) or any(c in name for c in "%/\\"):
        raise InputError(f"not a name for our snapshots: {name!r}")
    policy = policy or CreatePolicy()

    def attempt() -> VmSnapshot:
        adopted = _adopt(session, vm.moref, name, cancel)
        return adopted or _create(session, vm, name, description, quiesce=quiesce, cancel=cancel)

    def patient() -> VmSnapshot:
        return retry(attempt, policy.busy, cancel, on_retry=lambda e, n: _say_retry(vm, e, n))

    return retry(patient, policy.quiesce, cancel, transient=lambda e: isinstance(e, QuiesceFailedError))


def find(session: Session, vm: MoRef, name: str) -> VmSnapshot | None:
    """The snapshot of that name, with its disks: for going on after a restart."""
    found = find_named(session, vm, name)
    return describe(session, found) if found else None


def _adopt(session: Session, vm: MoRef, name: str, cancel: CancelToken) -> VmSnapshot | None:
    settle(session, vm, cancel)
    return find(session, vm, name)


def _create(
    session: Session, vm: VirtualMachine, name: str, description: str, *, quiesce: bool, cancel: CancelToken
) -> VmSnapshot:
    reference = session.vm(vm.moref)
    try:
        task = session.call(
            lambda _c: reference.CreateSnapshot_Task(
                name=name, description=description, memory=False, quiesce=quiesce
            )
        )
        _wait(session, task, cancel)
    except ObjectGoneError:
        _log.info("vCenter forgot the task of snapshot %s; the tree tells how it ended", name)
    except VbmError as error:
        raise _explained(vm, error) from error
    made = find(session, vm.moref, name)
    if made is None:
        raise SnapshotFailedError(
            f"vSphere ended the task of snapshot {name} of {vm.name}, but it is not in the VM's snapshot tree"
        )
    return made


def _wait(session: Session, task: Any, cancel: CancelToken) -> None:
    try:
        tasks.wait_for(session, task, cancel=cancel)
    except CancelledError:
        try:
            session.call(lambda _c: task.CancelTask())
        except VbmError as error:
            _log.debug("the snapshot's task could not be cancelled: %s", error.message)
        raise


def _explained(vm: VirtualMachine, error: VbmError) -> VbmError:
    """Quiesce and snapshot faults get classes of their own; transient errors, cancels and refusals stay."""
    fault = error.__cause__
    if fault is None or is_transient(error):
        return error
    names, said = fault_names(fault), fault_text(fault)
    if _QUIESCE_FAULTS & set(names) or any("quiesc" in key.lower() for key in fault_keys(fault)):
        return QuiesceFailedError(
            f"the guest of {vm.name} could not be brought to rest for the snapshot: {said}",
            hint="check VMware Tools and the VSS writers in the guest, or back up without quiescing",
            fault=names[0],
        )
    if error.code == "vsphere-fault":
        hint = next((_HINTS[n] for n in names if n in _HINTS), "")
        return SnapshotFailedError(
            f"vSphere made no snapshot of {vm.name}: {said} ({names[0]})", hint=hint, fault=names[0]
        )
    return error


def _say_retry(vm: VirtualMachine, error: Exception, failures: int) -> None:
    _log.info("snapshot of %s, attempt %d: %s", vm.name, failures, error)
