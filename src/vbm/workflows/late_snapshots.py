"""Snapshots of our runs that appeared only after they had been crossed out of the ledger.

A process can die between sending the creation and the server's beginning it. Whoever looks in that moment sees neither
a task nor a snapshot. The name tells whose it is: a run of this catalog. A stranger's name tells nothing.
"""

from __future__ import annotations

from typing import Final

from vbm.catalog.runs import LIVE, RunRecord, find_run
from vbm.clock import rfc3339
from vbm.engine.ledger import LedgerEntry
from vbm.engine.process import ProcessIdentity
from vbm.ids import RunId, VmUuid
from vbm.vsphere.session import Session
from vbm.vsphere.snapshots import SNAPSHOT_PREFIX, FoundSnapshot
from vbm.workflows.doors import Doors
from vbm.workflows.ledger import CatalogLedger

_PREFIX: Final = len(SNAPSHOT_PREFIX)


def take_back(doors: Doors, session: Session, found: FoundSnapshot) -> bool:
    """Write it into the ledger again as left behind; False where no ended run of this catalog has made it.

    One of a run that is still under way waits until that has ended.
    """
    run = _run_of(doors, found.name)
    if run is None or run.state in LIVE:
        return False
    ledger = CatalogLedger(doors.home, doors.catalog, doors.clock, run)
    ledger.record(_entry(session, found, run))
    ledger.release(found.name)
    return True


def _run_of(doors: Doors, name: str) -> RunRecord | None:
    own = name[_PREFIX:]
    first, _, attempt = own.rpartition("-")
    with doors.catalog.reading() as database:
        return find_run(database, own) or (find_run(database, first) if attempt.isdigit() else None)


def _entry(session: Session, found: FoundSnapshot, run: RunRecord) -> LedgerEntry:
    return LedgerEntry(
        snapshot=found.name,
        vcenter=session.endpoint.name,
        vcenter_uuid=session.about.get("instance_uuid", ""),
        vm=found.vm,
        vm_uuid=VmUuid(run.vm_uuid),
        vm_name=found.vm_name,
        run_id=RunId(found.name[_PREFIX:]),
        repository=run.repository_id,
        created=rfc3339(found.created),
        process=ProcessIdentity.own(),
    )
