"""VMs whose disks vSphere wants consolidated: done where a snapshot of ours was there lately, told of elsewhere.

Such a chain grows like a snapshot's, but no snapshot is to be seen. Never touched: a VM with a queued or running run.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from vbm.catalog.runs import LIVE, RunFilter, list_runs
from vbm.errors import VbmError
from vbm.notifications.events import Event, EventKind
from vbm.retry import RetryPolicy
from vbm.vsphere import snapshots
from vbm.vsphere.session import Session
from vbm.vsphere.snapshots import NeedsConsolidation
from vbm.workflows.doors import Doors
from vbm.workflows.outbox import emit

_OURS_FOR: Final = timedelta(days=2)
_ONCE: Final = RetryPolicy(attempts=1)
_log = logging.getLogger(__name__)


def attend(doors: Doors, session: Session, vcenter: str, needy: Sequence[NeedsConsolidation]) -> list[str]:
    """Consolidate or tell; the names of the VMs that still need it. Raises the catalog's errors only."""
    return [vm.vm_name for vm in needy if not _done(doors, session, vcenter, vm)]


def _done(doors: Doors, session: Session, vcenter: str, vm: NeedsConsolidation) -> bool:
    now = doors.clock.now()
    with doors.catalog.reading() as database:
        runs = list_runs(database, RunFilter(vm=vm.vm_uuid, limit=20)) if vm.vm_uuid else []
    if any(run.state in LIVE for run in runs):
        return True  # its run sees to it
    ours = any(
        run.snapshot_state != "none" and run.finished is not None and now - run.finished < _OURS_FOR
        for run in runs
    )
    problem = "no backup of this product was there lately, so it is left alone"
    if ours:
        try:
            snapshots.consolidate(session, vm.vm, policy=_ONCE)
        except VbmError as error:
            problem = error.message
        else:
            _log.warning("the disks of %s in %s needed consolidation: done", vm.vm_name, vcenter)
            return True
    with doors.catalog.writing() as database:
        emit(database, _told(vcenter, vm, problem, now))
    return False


def _told(vcenter: str, vm: NeedsConsolidation, problem: str, now: datetime) -> Event:
    return Event(
        kind=EventKind.SNAPSHOT_LEFT,
        message=f"The disks of {vm.vm_name} need consolidation: files of removed snapshots are still in use.",
        time=now,
        vm=vm.vm_name,
        about=f"consolidation of {vm.vm}",
        remedy="The files grow as the VM writes. In the vSphere Client: Snapshots, Consolidate. Where that fails, look "
        "for a backup product or proxy that still holds one of the disks.",
        facts=(("vCenter", vcenter), ("Why it is still so", problem)),
    )
