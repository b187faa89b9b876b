"""The last net under every restore: half-made VMs whose run is over are removed, or people are told.

Never touched: what a queued or running run makes and has not released, and anything that bears no mark of ours.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from vbm.catalog.half_made import HalfMadeRecord, change_half_made, forget_half_made, half_made
from vbm.catalog.runs import LIVE, find_run
from vbm.clock import rfc3339
from vbm.engine.sweep_restores import settle, told
from vbm.errors import NotFoundError, VbmError
from vbm.notifications.events import Event, EventKind
from vbm.progress import Silent
from vbm.units import format_duration
from vbm.vsphere.half_made import ONCE
from vbm.vsphere.making import HalfMade
from vbm.vsphere.session import Session
from vbm.workflows import points
from vbm.workflows.doors import Doors
from vbm.workflows.outbox import emit
from vbm.workflows.snapshot_guard import is_due

_DAILY: Final = timedelta(hours=24)
_TOLD_AFTER: Final = timedelta(hours=1)
_log = logging.getLogger(__name__)


class _Logged(Silent):
    def warn(self, message: str) -> None:
        _log.warning("%s", message)


class HalfMadeGuard:
    """One round at a time; several machines take turns through the catalog."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def look(self) -> list[str]:
        """Try those whose wait is over; the marks of those that are gone. Raises the catalog's errors only."""
        now = self._doors.clock.now()
        due = [record for record in self._leftovers() if is_due(record.tries, record.last_tried, now)]
        gone = []
        for vcenter_id in dict.fromkeys(record.vcenter_id for record in due):
            gone += self._look_at(vcenter_id, [record for record in due if record.vcenter_id == vcenter_id])
        self.report()
        return gone

    def report(self) -> None:
        """Tell of those that were left for an hour and were not told of within a day."""
        now = self._doors.clock.now()
        for record in self._leftovers():
            recently = record.reported is not None and now - record.reported < _DAILY
            if now - record.created < _TOLD_AFTER or recently:
                continue
            with self._doors.catalog.writing() as session:
                emit(session, self._left(record))
                change_half_made(session, record.id, {"reported": now})

    def _leftovers(self) -> list[HalfMadeRecord]:
        with self._doors.catalog.reading() as session:
            found = half_made(session)
            runs = {record.run_id: find_run(session, record.run_id) for record in found}
        return [r for r in found if r.released or (run := runs[r.run_id]) is None or run.state not in LIVE]

    def _look_at(self, vcenter_id: str, records: list[HalfMadeRecord]) -> list[str]:
        try:
            session = self._doors.connect(vcenter_id)
        except VbmError as error:
            for record in records:
                self._failed(record, error.message)
            return []
        try:
            return [record.id for record in records if self._settle(session, record)]
        finally:
            session.close()

    def _settle(self, session: Session, record: HalfMadeRecord) -> bool:
        half = HalfMade.from_document(record.document)
        points.reach("guard.half-made")
        try:
            became = settle(session, half, _Logged(), waits=ONCE, by_run=False)
        except NotFoundError:
            became = "gone"
        except VbmError as error:
            self._failed(record, error.message)
            return False
        if became == "waiting":
            self._failed(record, "")
            return False
        _log.info("%s", told(half, became))
        with self._doors.catalog.writing() as database:
            forget_half_made(database, record.id)
        return True

    def _failed(self, record: HalfMadeRecord, error: str) -> None:
        values = {"tries": record.tries + 1, "last_tried": self._doors.clock.now(), "last_error": error}
        with self._doors.catalog.writing() as session:
            change_half_made(session, record.id, values)

    def _left(self, record: HalfMadeRecord) -> Event:
        half = HalfMade.from_document(record.document)
        now = self._doors.clock.now()
        age = format_duration((now - record.created).total_seconds())
        return Event(
            kind=EventKind.WARNING,
            message=f"The half-made VM {half.name} of a restore is still in {half.vcenter} after {age}.",
            time=now,
            run_id=record.run_id,
            about=half.mark,
            remedy="It is tried again by itself; or delete it from disk in the vSphere Client.",
            facts=(
                ("VM", f"{half.name} ({half.moref or 'reference not known'})"),
                ("Made", rfc3339(record.created)),
                ("Tried", f"{record.tries} times; the last error: {record.last_error or 'none'}"),
            ),
        )
