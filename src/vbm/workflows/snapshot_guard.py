"""The last net under every run: snapshots of ours that no run looks after any more are removed, or people are told.

Often: those in the ledger whose run is over are removed, with growing waits. Now and then, and at start: each vCenter
is looked at. Snapshots older than their job's time-out are reported, again each day, and once more when they are gone.
VMs that need consolidation are found in the same pass.
Never removed: anything under a queued or running run, and anything that no run of this catalog has made.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from vbm.catalog.runs import LIVE, find_run
from vbm.catalog.snapshots import SnapshotRecord, change_snapshot, find_snapshot, outstanding
from vbm.catalog.vcenters import all_vcenters
from vbm.engine.restore_ledger import RestoreLedger
from vbm.engine.run_context import RunContext
from vbm.engine.sweep import remove_leftover, sweep
from vbm.engine.sweep_restores import sweep_restores
from vbm.errors import VbmError
from vbm.notifications.events import Event, EventKind
from vbm.retry import RetryPolicy
from vbm.vsphere import snapshots
from vbm.vsphere.session import Session
from vbm.vsphere.snapshots import FoundSnapshot
from vbm.workflows import consolidation, late_snapshots, points
from vbm.workflows.doors import Doors
from vbm.workflows.ledger import CatalogLedger
from vbm.workflows.outbox import emit
from vbm.workflows.snapshot_events import left_behind

_DAILY: Final = timedelta(hours=24)
_FIRST_WAIT_SECONDS: Final = 5
_LONGEST_WAIT_SECONDS: Final = 900
_ONCE: Final = RetryPolicy(attempts=1)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Looked:
    """What one round found. ``blind``: vCenters that could not be looked at."""

    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()


class SnapshotGuard:
    """One round at a time; several machines take turns through the catalog."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def quick(self) -> Looked:
        """Try those whose wait is over. Raises the catalog's errors only."""
        now = self._doors.clock.now()
        due = [record for record in self._leftovers() if is_due(record.tries, record.last_tried, now)]
        return self._remove(due)

    def look(self) -> Looked:
        """Look at every vCenter, remove what may be removed, and tell people. Raises the catalog's errors only."""
        with self._doors.catalog.reading() as session:
            known = {vcenter.id: vcenter.name for vcenter in all_vcenters(session)}
        blind = [name for vcenter_id, name in known.items() if not self._look_at(vcenter_id, name)]
        done = self._remove(self._leftovers())
        self.report()
        return replace(done, blind=tuple(blind))

    def report(self) -> list[str]:
        """Tell of snapshots past their time-out that were not told of within a day; their names."""
        now = self._doors.clock.now()
        told = []
        with self._doors.catalog.writing() as session:
            for record in outstanding(session):
                late = now - record.created >= timedelta(seconds=record.timeout_seconds)
                if not late or (record.reported is not None and now - record.reported < _DAILY):
                    continue
                run = find_run(session, record.run_id)
                emit(session, left_behind(record, now), run.document if run else None)
                change_snapshot(session, record.name, {"reported": now})
                told.append(record.name)
        return told

    # -- removal

    def _leftovers(self) -> list[SnapshotRecord]:
        with self._doors.catalog.reading() as session:
            found = outstanding(session)
            runs = {record.run_id: find_run(session, record.run_id) for record in found}
        return [
            record
            for record in found
            if record.released or (run := runs[record.run_id]) is None or run.state not in LIVE
        ]

    def _remove(self, records: list[SnapshotRecord]) -> Looked:
        removed: list[str] = []
        left: list[str] = []
        for vcenter_id in dict.fromkeys(record.vcenter_id for record in records):
            mine = [record for record in records if record.vcenter_id == vcenter_id]
            session = self._connect(vcenter_id, mine)
            if session is None:
                left += [record.name for record in mine]
                continue
            try:
                for record in mine:
                    gone = self._remove_one(session, record)
                    (removed if gone else left).append(record.name)
            finally:
                session.close()
        return Looked(tuple(removed), tuple(left))

    def _connect(self, vcenter_id: str, records: list[SnapshotRecord]) -> Session | None:
        try:
            return self._doors.connect(vcenter_id)
        except VbmError as error:
            for record in records:
                self._failed(record, error.message, tried=True)
            return None

    def _remove_one(self, session: Session, record: SnapshotRecord) -> bool:
        context = self._context()
        points.reach("guard.remove")
        swept = remove_leftover(session, context, self._ledger().entry(record))
        if swept is None:
            return False
        if not swept.removed:
            self._failed(record, swept.error, tried=False)
        return swept.removed

    def _failed(self, record: SnapshotRecord, error: str, *, tried: bool) -> None:
        with self._doors.catalog.writing() as session:
            found = find_snapshot(session, record.name)
            if found is not None:
                values: dict[str, object] = {"last_error": error, "last_tried": self._doors.clock.now()}
                if tried:
                    values["tries"] = found.tries + 1
                change_snapshot(session, record.name, values)

    # -- looking

    def _look_at(self, vcenter_id: str, name: str) -> bool:
        """Remove what killed runs by hand left, and strike out what is no longer there; False where nobody answers."""
        try:
            session = self._doors.connect(vcenter_id)
        except VbmError as error:
            self._blind(vcenter_id, name, error)
            return False
        try:
            by_hand = RunContext.of(self._doors.home, clock=self._doors.clock)
            sweep(session, replace(by_hand, removals=_ONCE))
            sweep_restores(session, RestoreLedger(self._doors.home), by_hand.progress)
            found = snapshots.survey(session)
            self._unknown(session, found.ours, name)
            consolidation.attend(self._doors, session, name, found.unconsolidated)
        except VbmError as error:
            self._blind(vcenter_id, name, error)
            return False
        finally:
            session.close()
        return True

    def _unknown(self, session: Session, ours: Sequence[FoundSnapshot], name: str) -> None:
        known = {entry.snapshot for entry in self._ledger().entries()}
        for found in ours:
            if found.name not in known and not late_snapshots.take_back(self._doors, session, found):
                _log.warning(
                    "the snapshot %s of %s in %s is not in this installation's ledger; it is left alone",
                    found.name,
                    found.vm_name,
                    name,
                )

    def _blind(self, vcenter_id: str, name: str, error: VbmError) -> None:
        now = self._doors.clock.now()
        with self._doors.catalog.writing() as session:
            waiting = outstanding(session, vcenter_id)
            count = (
                f"{len(waiting)} snapshots of ours may be there" if waiting else "none of ours is known there"
            )
            event = Event(
                kind=EventKind.WARNING,
                message=f"Can't look for snapshots left behind in {name}: {error.message}; {count}.",
                time=now,
                about=f"snapshots in {name}",
                remedy=error.hint or "Make the vCenter reachable; it is looked at again by itself.",
            )
            emit(session, event)

    def _ledger(self) -> CatalogLedger:
        return CatalogLedger(self._doors.home, self._doors.catalog, self._doors.clock)

    def _context(self) -> RunContext:
        context = RunContext.of(self._doors.home, clock=self._doors.clock)
        return replace(context, ledger=self._ledger(), removals=_ONCE)


def is_due(tries: int, last_tried: datetime | None, now: datetime) -> bool:
    """Whether a removal is to be tried again: the waits grow."""
    if last_tried is None:
        return True
    wait = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2 ** min(tries, 10))
    return now >= last_tried + timedelta(seconds=wait) or now < last_tried
