"""What all runs that have ended come to, for the metrics: counted with a run's end, kept when the run is forgotten.

A row of kind ``backup`` is one VM of one job and stays as long as the job selects that VM; ``volume`` is all backups of
one vCenter, ``restore`` all restores into one, ``verify`` all verifications and checks of one repository. Counters only
grow.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any, Final

from sqlalchemy import JSON, Boolean, Float, Integer, String, Text, delete, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime
from vbm.catalog.jobs import JobRow
from vbm.catalog.repositories import RepositoryRow
from vbm.catalog.repository_usage import add_stored
from vbm.catalog.runs import RunRow
from vbm.catalog.vcenters import VcenterRow

LIMITS: Final = (
    15,
    60,
    300,
    900,
    1800,
    3600,
    7200,
    14400,
    28800,
    86400,
)  # seconds, upper ends of the histogram
SIZES: Final = {
    "read": "bytes_read",
    "changed": "bytes_changed",
    "new": "bytes_new",
    "logical": "capacity_bytes",
}
_DAMAGED: Final = "damage-found"


class TotalRow(Base):
    __tablename__ = "run_totals"

    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    job_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    vm_name: Mapped[str] = mapped_column(Text, primary_key=True)
    vcenter_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    repository_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    succeeded: Mapped[int] = mapped_column(Integer)
    failed: Mapped[dict[str, int]] = mapped_column(JSON)  # by reason: the stable code of the error
    seconds: Mapped[float] = mapped_column(Float(53))
    lengths: Mapped[list[int]] = mapped_column(JSON)  # how many took up to each of LIMITS, the last: longer
    sizes: Mapped[dict[str, int]] = mapped_column(JSON)  # of the last backup; of ``volume``: of all
    last_success: Mapped[datetime | None] = mapped_column(UtcTime)
    last_ended: Mapped[datetime] = mapped_column(UtcTime)
    last_good: Mapped[bool | None] = mapped_column(Boolean)


@dataclass(frozen=True, slots=True)
class Total:
    """One row. ``job``, ``vcenter`` and ``repository`` are names as they are now, empty where the kind has none.

    ``lengths``: how many runs took up to each of LIMITS and no longer than the one before; the last: longer.
    """

    kind: str
    job: str
    vm_name: str
    vcenter: str
    repository: str
    succeeded: int
    failed: dict[str, int]
    seconds: float
    lengths: list[int]
    sizes: dict[str, int]
    last_success: datetime | None
    last_good: bool | None


def count_run(session: Session, row: RunRow) -> None:
    """Add a run that has just ended, in the transaction that ends it. A cancelled one is neither good nor bad."""
    if row.state not in {"succeeded", "warning", "failed"}:
        return
    if row.kind == "backup":
        _count(
            session, row, "backup", job_id=row.job_id or "", vm_name=row.vm_name, vcenter_id=row.vcenter_id
        )
        _count(session, row, "volume", vcenter_id=row.vcenter_id)
        add_stored(session, row.repository_id, int(row.result.get("bytes_new", 0)))
        if row.result.get("verified", {}).get("good") is False:
            total = _total(session, row.finished or row.created, "verify", repository_id=row.repository_id)
            total.failed = _one_more(total.failed, _DAMAGED)
    elif row.kind == "restore":
        _count(session, row, "restore", vcenter_id=row.vcenter_id)
    elif row.kind in {"verify", "check"}:
        _count(session, row, "verify", repository_id=row.repository_id)


def count_no_run(session: Session, job_id: str, vcenter_id: str, reason: str, now: datetime) -> None:
    """Count a job that could not even begin: it has no VMs then, and no runs."""
    total = _total(session, now, "backup", job_id=job_id, vcenter_id=vcenter_id)
    total.failed = _one_more(total.failed, reason)
    total.last_ended = now


def _count(session: Session, row: RunRow, kind: str, **key: str) -> None:
    ended = row.finished or row.created
    total = _total(session, ended, kind, **key)
    total.last_ended, total.last_good = ended, row.state != "failed"
    if row.state == "failed":
        total.failed = _one_more(total.failed, row.error_code or "unknown")
        return
    seconds = max(0.0, (ended - (row.started or row.created)).total_seconds())
    total.succeeded += 1
    total.seconds += seconds
    at = bisect_left(LIMITS, seconds)
    total.lengths = [count + (number == at) for number, count in enumerate(total.lengths)]
    total.last_success = ended
    if row.kind == "backup":
        before = total.sizes if kind == "volume" else {}
        total.sizes = {
            size: before.get(size, 0) + int(row.result.get(name, 0)) for size, name in SIZES.items()
        }


def _total(session: Session, now: datetime, kind: str, **given: str) -> TotalRow:
    """The row of that key, made where it is missing, and locked until the transaction ends."""
    parts: dict[str, Any] = {"job_id": "", "vm_name": "", "vcenter_id": "", "repository_id": ""}
    key = {"kind": kind} | parts | given
    found = session.get(TotalRow, tuple(key.values()), with_for_update=True)
    if found is None:
        nothing = {
            "succeeded": 0,
            "failed": {},
            "seconds": 0.0,
            "lengths": [0] * (len(LIMITS) + 1),
            "sizes": {},
        }
        values = key | nothing | {"last_ended": now, "last_success": None, "last_good": None}
        session.execute(_insert(session).values(**values).on_conflict_do_nothing())
        found = session.get(TotalRow, tuple(key.values()), with_for_update=True)
    assert found is not None  # noqa: S101 - made above, by us or by another worker
    return found


def _insert(session: Session) -> Any:
    if session.get_bind().dialect.name == "postgresql":  # imported where it is spoken: each is slow to load
        return import_module("sqlalchemy.dialects.postgresql").insert(TotalRow)
    return import_module("sqlalchemy.dialects.sqlite").insert(TotalRow)


def _one_more(counts: dict[str, int], reason: str) -> dict[str, int]:
    return counts | {reason: counts.get(reason, 0) + 1}


def all_totals(session: Session) -> list[Total]:
    """Those whose job, vCenter or repository is still known, by name."""
    jobs: dict[str, str] = {"": ""} | dict(_names(session, JobRow))
    vcenters: dict[str, str] = {"": ""} | dict(_names(session, VcenterRow))
    repositories: dict[str, str] = {"": ""} | dict(_names(session, RepositoryRow))
    query = select(
        TotalRow.kind,
        TotalRow.job_id,
        TotalRow.vm_name,
        TotalRow.vcenter_id,
        TotalRow.repository_id,
        TotalRow.succeeded,
        TotalRow.failed,
        TotalRow.seconds,
        TotalRow.lengths,
        TotalRow.sizes,
        TotalRow.last_success,
        TotalRow.last_good,
    )
    found = []
    for kind, job, vm, vcenter, repository, *values in session.execute(query):
        if job in jobs and vcenter in vcenters and repository in repositories:
            found.append(Total(kind, jobs[job], vm, vcenters[vcenter], repositories[repository], *values))
    return sorted(found, key=lambda total: (total.kind, total.job, total.vm_name, total.vcenter))


def keep_selected(session: Session, job_id: str, vcenter_id: str, vm_names: Collection[str]) -> None:
    """Forget what was counted of VMs that the job does not select any more: nobody waits for their next backup."""
    of_job = (TotalRow.kind == "backup") & (TotalRow.job_id == job_id) & (TotalRow.vm_name != "")
    known = set(session.scalars(select(TotalRow.vm_name).where(of_job)))
    gone = known.difference(vm_names)
    if gone:
        session.execute(delete(TotalRow).where(of_job, TotalRow.vm_name.in_(gone)))
    session.execute(delete(TotalRow).where(of_job, TotalRow.vcenter_id != vcenter_id))


def forget_totals(session: Session, before: datetime) -> None:
    """Of jobs, vCenters and repositories that are no longer known; without a job, those that ended before then."""
    for column, row in (
        (TotalRow.job_id, JobRow),
        (TotalRow.vcenter_id, VcenterRow),
        (TotalRow.repository_id, RepositoryRow),
    ):
        session.execute(delete(TotalRow).where(column != "", column.not_in(select(row.id))))
    by_hand = (TotalRow.kind == "backup") & (TotalRow.job_id == "") & (TotalRow.last_ended < before)
    session.execute(delete(TotalRow).where(by_hand))


def _names(session: Session, row: Any) -> list[tuple[str, str]]:
    return [(str(key), str(name)) for key, name in session.execute(select(row.id, row.name))]
