"""The ledger of snapshots in the catalog, in the shape that the engine knows: for runs that several machines may own.

A snapshot is a leftover once its run has ended, or has released it; never while its run is queued or running.
"""

from __future__ import annotations

from pathlib import Path

from vbm.catalog.catalog import Catalog
from vbm.catalog.runs import LIVE, RunRecord, RunRow, find_run
from vbm.catalog.snapshots import (
    SnapshotRecord,
    change_snapshot,
    find_snapshot,
    forget_snapshot,
    outstanding,
    record_snapshot,
)
from vbm.clock import Clock, parse_rfc3339, rfc3339
from vbm.engine.ledger import Ledger, LedgerEntry
from vbm.ids import MoRef, RunId, VmUuid
from vbm.workflows.outbox import emit
from vbm.workflows.snapshot_events import gone


class CatalogLedger(Ledger):
    """``run`` is whose snapshots ``record`` writes down; None for the guard, which records none."""

    def __init__(self, home: Path, catalog: Catalog, clock: Clock, run: RunRecord | None = None) -> None:
        super().__init__(home)
        self._catalog, self._clock, self._run = catalog, clock, run

    def record(self, entry: LedgerEntry) -> None:
        run = self._run
        assert run is not None  # noqa: S101 - only a run makes snapshots
        document = SnapshotRecord(
            name=entry.snapshot,
            run_id=run.id,
            engine_run_id=entry.run_id,
            job_name=run.job_name,
            vcenter_id=run.vcenter_id,
            vcenter_name=entry.vcenter,
            vcenter_uuid=entry.vcenter_uuid,
            vm_moref=entry.vm,
            vm_uuid=entry.vm_uuid,
            vm_name=entry.vm_name,
            repository_id=entry.repository,
            created=parse_rfc3339(entry.created),
            timeout_seconds=int(run.document["snapshot_timeout_seconds"]),
            datastores=", ".join(run.datastores),
        )
        with self._catalog.writing() as session:
            record_snapshot(session, document)
            _mark(session.get(RunRow, run.id), "present")

    def forget(self, snapshot: str) -> None:
        with self._catalog.writing() as session:
            found = find_snapshot(session, snapshot)
            if found is not None:
                forget_snapshot(session, snapshot)
                row = session.get(RunRow, found.run_id)
                _mark(row, "removed")
                if found.reported is not None:
                    emit(session, gone(found, self._clock.now()), row.document if row else None)

    def release(self, snapshot: str) -> None:
        with self._catalog.writing() as session:
            found = find_snapshot(session, snapshot)
            if found is not None:
                change_snapshot(session, snapshot, {"released": True, "last_tried": self._clock.now()})
                _mark(session.get(RunRow, found.run_id), "left")

    def find(self, snapshot: str) -> LedgerEntry | None:
        with self._catalog.reading() as session:
            found = find_snapshot(session, snapshot)
        return None if found is None else self.entry(found)

    def entries(self) -> list[LedgerEntry]:
        """The catalog's, and those of runs by hand in this home."""
        with self._catalog.reading() as session:
            found = outstanding(session)
        return [self.entry(record) for record in found] + super().entries()

    def leftovers(self, vcenter: str, vcenter_uuid: str = "") -> list[LedgerEntry]:
        with self._catalog.reading() as session:
            found = outstanding(session)
            ended = [r for r in found if r.released or not _is_live(find_run(session, r.run_id))]
        return [
            self.entry(r)
            for r in ended
            if r.vcenter_name == vcenter or (vcenter_uuid and r.vcenter_uuid == vcenter_uuid)
        ]

    def is_leftover(self, entry: LedgerEntry) -> bool:
        with self._catalog.reading() as session:
            found = find_snapshot(session, entry.snapshot)
            return found is not None and (found.released or not _is_live(find_run(session, found.run_id)))

    def claim(self, entry: LedgerEntry) -> LedgerEntry | None:
        with self._catalog.writing() as session:
            found = find_snapshot(session, entry.snapshot)
            if found is None or not (found.released or not _is_live(find_run(session, found.run_id))):
                return None
            tried = {"tries": found.tries + 1, "last_tried": self._clock.now()}
            change_snapshot(session, found.name, tried)
        return self.entry(found)

    def entry(self, record: SnapshotRecord) -> LedgerEntry:
        return LedgerEntry(
            snapshot=record.name,
            vcenter=record.vcenter_name,
            vcenter_uuid=record.vcenter_uuid,
            vm=MoRef(record.vm_moref),
            vm_uuid=VmUuid(record.vm_uuid),
            vm_name=record.vm_name,
            run_id=RunId(record.engine_run_id),
            repository=record.repository_id,
            created=rfc3339(record.created),
            process=self.process,
            released=record.released,
        )


def _is_live(run: RunRecord | None) -> bool:
    return run is not None and run.state in LIVE


def _mark(row: RunRow | None, state: str) -> None:
    if row is not None:
        row.snapshot_state = state
