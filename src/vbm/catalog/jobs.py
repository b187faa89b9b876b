"""Jobs: what to protect, when and where to, as a document; and where the schedule stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Boolean, Index, String, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime
from vbm.catalog.errors import NameTakenError
from vbm.catalog.names import name_key, unknown_name
from vbm.errors import InputError
from vbm.policy.job import Job


@dataclass(frozen=True, slots=True)
class JobRecord:
    """``document`` is the job document with ids. ``last_slot``: slots up to it are handled; ``next_run``: the next.

    ``unmatched``: rules of the selection that no VM answered to at the last execution, so that each is warned
    about once. ``last_state`` is the worst state of the last execution's runs so far.
    """

    id: str
    name: str
    enabled: bool
    vcenter_id: str
    repository_id: str
    document: dict[str, Any]
    created: datetime
    updated: datetime
    last_slot: datetime
    next_run: datetime | None = None
    last_started: datetime | None = None
    last_success: datetime | None = None
    last_state: str = ""
    unmatched: tuple[str, ...] = ()

    @property
    def job(self) -> Job:
        return Job.from_document(self.document)


class JobRow(Base):
    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_next_run", "next_run"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    name_key: Mapped[str] = mapped_column(String(400), unique=True)
    enabled: Mapped[bool] = mapped_column(Boolean)
    vcenter_id: Mapped[str] = mapped_column(String(40))
    repository_id: Mapped[str] = mapped_column(String(40))
    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    created: Mapped[datetime] = mapped_column(UtcTime)
    updated: Mapped[datetime] = mapped_column(UtcTime)
    last_slot: Mapped[datetime] = mapped_column(UtcTime)
    next_run: Mapped[datetime | None] = mapped_column(UtcTime)
    last_started: Mapped[datetime | None] = mapped_column(UtcTime)
    last_success: Mapped[datetime | None] = mapped_column(UtcTime)
    last_state: Mapped[str] = mapped_column(String(20))
    unmatched: Mapped[list[str]] = mapped_column(JSON)


def _record(row: JobRow) -> JobRecord:
    values: dict[str, Any] = {slot: getattr(row, slot) for slot in JobRecord.__dataclass_fields__}
    return JobRecord(**values | {"unmatched": tuple(row.unmatched)})


def _values(record: JobRecord) -> dict[str, Any]:
    values = {slot: getattr(record, slot) for slot in JobRecord.__dataclass_fields__}
    return values | {"unmatched": list(record.unmatched), "name_key": name_key(record.name)}


def all_jobs(session: Session) -> list[JobRecord]:
    """Every job, by name."""
    names = [name for name in JobRecord.__dataclass_fields__ if name != "unmatched"]
    columns = [getattr(JobRow, name) for name in names]
    rows = session.execute(
        select(*columns, JobRow.unmatched).order_by(JobRow.name_key)
    )  # plain rows: a third
    found: list[JobRecord] = []
    for *known, unmatched in rows:
        values: dict[str, Any] = dict(zip(names, known, strict=True))
        found.append(JobRecord(**values, unmatched=tuple(unmatched)))
    return found


def job_by_name(session: Session, name: str) -> JobRecord:
    """The job of that name or id. Raises UnknownNameError with the nearest name."""
    found = find_job(session, name)
    if found is None:
        known = session.scalars(select(JobRow.name))
        raise unknown_name("job", name, known, "create one: vbm job create NAME --vm VM --repository NAME")
    return found


def find_job(session: Session, name: str) -> JobRecord | None:
    """The job of that name or id, if there is one."""
    matches = (JobRow.name_key == name_key(name)) | (JobRow.id == name)
    row = session.scalars(select(JobRow).where(matches)).first()
    return None if row is None else _record(row)


def insert_job(session: Session, record: JobRecord) -> None:
    """Store a new job. Raises NameTakenError."""
    _check_free(session, record)
    session.add(JobRow(**_values(record)))
    session.flush()


def replace_job(session: Session, record: JobRecord) -> None:
    """Store a changed job. Raises NameTakenError where its new name is another's."""
    _check_free(session, record)
    session.execute(update(JobRow).where(JobRow.id == record.id).values(**_values(record)))


def delete_job(session: Session, job_id: str) -> None:
    """Its runs stay in the history."""
    session.execute(delete(JobRow).where(JobRow.id == job_id))


def due_jobs(session: Session, now: datetime) -> Sequence[JobRecord]:
    """Enabled jobs with a slot that has come, the longest waiting first."""
    found = select(JobRow).where(JobRow.enabled, JobRow.next_run <= now).order_by(JobRow.next_run)
    return [_record(row) for row in session.scalars(found)]


def advance_schedule(
    session: Session, record: JobRecord, last_slot: datetime, next_run: datetime | None
) -> bool:
    """Mark slots as handled; False where another process was first, who then fires them."""
    changed = session.execute(
        update(JobRow)
        .where(JobRow.id == record.id, JobRow.last_slot == record.last_slot, JobRow.updated == record.updated)
        .values(last_slot=last_slot, next_run=next_run)
    )
    return _count(changed) == 1


def note_started(session: Session, job_id: str, now: datetime, unmatched: Sequence[str]) -> None:
    """An execution of the job has begun."""
    session.execute(
        update(JobRow)
        .where(JobRow.id == job_id)
        .values(last_started=now, last_state="", unmatched=list(unmatched))
    )


_WORST = ("", "succeeded", "cancelled", "warning", "failed")


def note_ended(session: Session, job_id: str, state: str, now: datetime) -> None:
    """One run of the job has ended so."""
    row = session.get(JobRow, job_id)
    if row is None:
        return
    if _WORST.index(state) > _WORST.index(row.last_state if row.last_state in _WORST else ""):
        row.last_state = state
    if state in {"succeeded", "warning"}:
        row.last_success = now


def check_unused(session: Session, thing: str, record_id: str) -> None:
    """Raises InputError where a job names that vCenter or repository, by id."""
    uses = (JobRow.vcenter_id == record_id) | (JobRow.repository_id == record_id)
    names = list(session.scalars(select(JobRow.name).where(uses).order_by(JobRow.name_key)))
    if names:
        raise InputError(
            f"the {thing} is used by {len(names)} jobs: {', '.join(repr(name) for name in names[:5])}",
            hint="change or delete them first: vbm job update, vbm job delete",
        )


def _check_free(session: Session, record: JobRecord) -> None:
    found = session.scalars(select(JobRow.id).where(JobRow.name_key == name_key(record.name))).first()
    if found is not None and found != record.id:
        raise NameTakenError(
            f"there is a job named {record.name!r} already",
            hint="choose another name; vbm job list shows those in use",
        )


def _count(result: Any) -> int:
    return int(result.rowcount)
