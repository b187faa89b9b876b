"""The ledger of half-made VMs in the catalog: for restores that several machines may own, one after the other."""

from __future__ import annotations

from vbm.catalog.base import Transaction
from vbm.catalog.half_made import (
    HalfMadeRecord,
    change_half_made,
    forget_half_made,
    half_made,
    put_half_made,
)
from vbm.clock import parse_rfc3339
from vbm.vsphere.making import HalfMade
from vbm.workflows import points
from vbm.workflows.live import LiveRun
from vbm.workflows.steps import patiently


class CatalogTraces:
    """Of one run, while this process owns it: a process that was fenced off ends before it makes anything more."""

    def __init__(self, live: LiveRun) -> None:
        self._live = live

    def save(self, half: HalfMade) -> None:
        run = self._live.run
        record = HalfMadeRecord(
            half.mark, run.id, run.vcenter_id, half.to_document(), parse_rfc3339(half.created)
        )
        patiently(self._live, lambda: self._put(record))
        points.reach(f"making.{half.stage}")

    def _put(self, record: HalfMadeRecord) -> None:
        self._live.check_owner()
        with self._live.doors.catalog.writing() as session:
            put_half_made(session, record)

    def done(self, half: HalfMade) -> None:
        """Kept until the run's row says so: begun again, the restore must know that nothing is to be done."""
        self.save(half)

    def forget(self, mark: str) -> None:
        patiently(self._live, lambda: self._forget(mark))

    def _forget(self, mark: str) -> None:
        with self._live.doors.catalog.writing() as session:
            forget_half_made(session, mark)

    def release(self, mark: str) -> None:
        patiently(self._live, lambda: self._release(mark))

    def _release(self, mark: str) -> None:
        with self._live.doors.catalog.writing() as session:
            change_half_made(session, mark, {"released": True})

    def strike_out(self, session: Transaction) -> None:
        """Forget what is done, in the transaction that says so elsewhere."""
        for record in half_made(session, self._live.run.id):
            if record.document["stage"] == "done":
                forget_half_made(session, record.id)

    def own(self) -> list[HalfMade]:
        """Of earlier processes and attempts."""
        with self._live.doors.catalog.reading() as session:
            found = half_made(session, self._live.run.id)
        return [HalfMade.from_document(record.document) for record in found]
