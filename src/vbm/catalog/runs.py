"""Runs: one backup, restore or verification of one VM each. The table is the truth that people see, and the queue
that workers take from.

A worker owns a run through its ``token``: taking the run over raises the token, so that a process that was thought
dead can find out that it no longer owns it. Ids sort by time; lists page by them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Index, Integer, Select, String, Text, delete, func, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from vbm.catalog.base import Base, UtcTime
from vbm.catalog.errors import UnknownNameError
from vbm.catalog.vm_places import within
from vbm.policy.scope import EVERYWHERE, Scope

UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LIVE: Final = ("queued", "running")
ENDED: Final = ("succeeded", "warning", "failed", "cancelled")
KINDS: Final = ("backup", "restore", "verify", "check", "gc")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """``document`` is the job document as it was at the start, ``parameters`` what a restore or verification is asked.

    ``vm_uuid`` is empty and ``vm_name`` the repository's where the run works on a repository: *check* and *gc*.
    ``job_id`` is empty where no job asked for it. ``snapshot_state``: none, present, removed or left.
    """

    id: str
    execution_id: str
    job_id: str
    job_name: str
    vm_uuid: str
    vm_name: str
    vcenter_id: str
    repository_id: str
    datastores: tuple[str, ...]
    document: dict[str, Any]
    created: datetime
    trigger: str = "manual"
    priority: int = 100
    state: str = "queued"
    phase: str = ""
    bytes_total: int = 0
    bytes_done: int = 0
    started: datetime | None = None
    reading_since: datetime | None = None
    finished: datetime | None = None
    attempts: int = 0
    worker_id: str = ""
    token: int = 0
    cancel_requested_at: datetime | None = None
    cancel_reason: str = ""
    deadline: datetime | None = None
    error_code: str = ""
    error_message: str = ""
    error_hint: str = ""
    restore_point_id: str = ""
    snapshot_state: str = "none"
    warnings: tuple[str, ...] = ()
    result: dict[str, Any] = field(default_factory=dict)
    kind: str = "backup"
    parameters: dict[str, Any] = field(default_factory=dict)
    disks: tuple[dict[str, Any], ...] = ()  # {key, label, bytes_total, bytes_done} of each, as far as it is

    @property
    def is_alone(self) -> bool:
        """Whether no other such run of the VM may go on beside it: it works on the VM itself."""
        return self.kind == "backup" or bool(self.parameters.get("in_place"))

    @property
    def uses_vcenter(self) -> bool:
        return self.kind in {"backup", "restore"}


class RunRow(Base):
    __tablename__ = "runs"
    __table_args__ = (
        Index("ix_runs_job", "job_id", "id"),
        Index("ix_runs_state", "state", "id"),
        Index("ix_runs_vm", "vm_uuid", "id"),
        Index("ix_runs_vm_name", "vm_name", "id"),
        Index("ix_runs_execution", "execution_id"),
        Index("ix_runs_day", "kind", "id", "state", "vcenter_id"),
        Index("ix_runs_ended", "kind", "vm_uuid", "state", "id"),
        Index("ix_runs_results", "job_id", "kind", "execution_id", "state", "created"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    execution_id: Mapped[str] = mapped_column(String(40))
    job_id: Mapped[str | None] = mapped_column(String(40))
    job_name: Mapped[str] = mapped_column(String(200))
    vm_uuid: Mapped[str] = mapped_column(String(64))
    vm_name: Mapped[str] = mapped_column(Text)
    vcenter_id: Mapped[str] = mapped_column(String(40))
    repository_id: Mapped[str] = mapped_column(String(40))
    datastores: Mapped[list[str]] = mapped_column(JSON)
    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    created: Mapped[datetime] = mapped_column(UtcTime)
    trigger: Mapped[str] = mapped_column(String(20))
    priority: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(20))
    phase: Mapped[str] = mapped_column(String(20))
    bytes_total: Mapped[int] = mapped_column(BigInteger)
    bytes_done: Mapped[int] = mapped_column(BigInteger)
    started: Mapped[datetime | None] = mapped_column(UtcTime)
    reading_since: Mapped[datetime | None] = mapped_column(UtcTime)
    finished: Mapped[datetime | None] = mapped_column(UtcTime)
    attempts: Mapped[int] = mapped_column(Integer)
    worker_id: Mapped[str] = mapped_column(String(40))
    token: Mapped[int] = mapped_column(Integer)
    cancel_requested_at: Mapped[datetime | None] = mapped_column(UtcTime)
    cancel_reason: Mapped[str] = mapped_column(Text)
    deadline: Mapped[datetime | None] = mapped_column(UtcTime)
    error_code: Mapped[str] = mapped_column(String(60))
    error_message: Mapped[str] = mapped_column(Text)
    error_hint: Mapped[str] = mapped_column(Text)
    restore_point_id: Mapped[str] = mapped_column(String(40))
    snapshot_state: Mapped[str] = mapped_column(String(20))
    warnings: Mapped[list[str]] = mapped_column(JSON)
    result: Mapped[dict[str, Any]] = mapped_column(JSON)
    kind: Mapped[str] = mapped_column(String(20))
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON)
    disks: Mapped[list[dict[str, Any]]] = mapped_column(JSON)


_TUPLES: Final = ("datastores", "warnings", "disks")


def _record(row: RunRow) -> RunRecord:
    values: dict[str, Any] = {slot: getattr(row, slot) for slot in RunRecord.__dataclass_fields__}
    values["job_id"] = values["job_id"] or ""
    return RunRecord(**values | {name: tuple(values[name]) for name in _TUPLES})


def insert_runs(session: Session, records: Iterable[RunRecord]) -> None:
    """Store new runs."""
    for record in records:
        values = {slot: getattr(record, slot) for slot in RunRecord.__dataclass_fields__}
        values["job_id"] = values["job_id"] or None
        session.add(RunRow(**values | {name: list(values[name]) for name in _TUPLES}))
    session.flush()


def find_run(session: Session, run_id: str) -> RunRecord | None:
    row = session.get(RunRow, run_id)
    return None if row is None else _record(row)


def run_by_id(session: Session, given: str) -> RunRecord:
    """The run of that id, or of an unambiguous beginning or end of one. Raises UnknownNameError."""
    exact = find_run(session, given)
    if exact is not None:
        return exact
    text = given.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    fits = RunRow.id.like(f"{text}%", escape="\\") | RunRow.id.like(f"%{text}", escape="\\")
    found = session.scalars(select(RunRow).where(fits).limit(2)).all() if len(given) >= 4 else []
    if len(found) == 1:
        return _record(found[0])
    what = "several runs fit" if found else "there is no run"
    raise UnknownNameError(f"{what} {given!r}", hint="vbm run list shows their ids")


@dataclass(frozen=True, slots=True)
class RunFilter:
    """What to list. ``before`` is the id after which the last page ended."""

    states: Sequence[str] = ()
    job_id: str = ""
    vm: str = ""  # name or instance UUID
    execution_id: str = ""
    before: str = ""
    limit: int = 100
    vcenters: Sequence[str] = ()
    kinds: Sequence[str] = ()
    repository_id: str = ""
    since: datetime | None = None  # when it was queued
    until: datetime | None = None
    scope: Scope = EVERYWHERE


_BRIEF: Final = (
    *("id", "execution_id", "job_id", "job_name", "vm_uuid", "vm_name", "vcenter_id", "repository_id"),
    *("created", "state", "phase", "bytes_total", "bytes_done", "started", "finished", "kind"),
    *("error_code", "error_message", "error_hint", "restore_point_id", "snapshot_state"),
)


def list_runs(session: Session, wanted: RunFilter) -> list[RunRecord]:
    """The newest first."""
    return [_record(row) for row in session.scalars(_listed(select(RunRow), wanted))]


def list_runs_briefly(session: Session, wanted: RunFilter) -> list[RunRecord]:
    """The newest first, without their documents, results and warnings: for thousands at once."""
    query = _listed(select(*(getattr(RunRow, name) for name in _BRIEF)), wanted)
    found = []
    for row in session.execute(query):
        values = dict(zip(_BRIEF, row, strict=True))
        values["job_id"] = values["job_id"] or ""
        found.append(RunRecord(**values, datastores=(), document={}))
    return found


def _listed(query: Select[Any], wanted: RunFilter) -> Select[Any]:
    if wanted.states:
        query = query.where(RunRow.state.in_(wanted.states))
    if wanted.job_id:
        query = query.where(RunRow.job_id == wanted.job_id)
    if wanted.vm:
        by_uuid = UUID.fullmatch(wanted.vm.lower()) is not None  # an OR of both would use neither index
        query = query.where(RunRow.vm_uuid == wanted.vm.lower() if by_uuid else RunRow.vm_name == wanted.vm)
    if wanted.execution_id:
        query = query.where(RunRow.execution_id == wanted.execution_id)
    if wanted.vcenters:
        query = query.where(RunRow.vcenter_id.in_(wanted.vcenters))
    if not wanted.scope.everything:
        query = query.where(within(wanted.scope, RunRow.vcenter_id, RunRow.vm_uuid))
    if wanted.repository_id:
        query = query.where(RunRow.repository_id == wanted.repository_id)
    if wanted.kinds:
        query = query.where(RunRow.kind.in_(wanted.kinds))
    if wanted.before:
        query = query.where(RunRow.id < wanted.before)
    if wanted.since is not None:
        query = query.where(RunRow.id >= f"{wanted.since:%Y%m%dT%H%M%S}")
    if wanted.until is not None:
        query = query.where(RunRow.id < f"{wanted.until:%Y%m%dT%H%M%S}")
    return query.order_by(RunRow.id.desc()).limit(wanted.limit)


def live_groups(session: Session, wanted: RunFilter) -> list[tuple[Any, ...]]:
    """Of those queued and running, by state and phase: (state, how many, lowest id, highest id, tokens, asked to stop,
    phase, bytes in all, bytes done). Another list whenever one came, went on or ended; answered without reading them.
    """
    columns: tuple[Any, ...] = (
        RunRow.state,
        func.count(),
        func.min(RunRow.id),
        func.max(RunRow.id),
        func.sum(RunRow.token),
        func.count(RunRow.cancel_requested_at),
        RunRow.phase,
        func.sum(RunRow.bytes_total),
        func.sum(RunRow.bytes_done),
    )
    query = _listed(select(*columns), replace(wanted, states=LIVE)).order_by(None).limit(None)
    return sorted(tuple(row) for row in session.execute(query.group_by(RunRow.state, RunRow.phase)))


def live_runs(session: Session) -> list[RunRecord]:
    """Queued and running ones, in the order in which they are to be taken."""
    query = select(RunRow).where(RunRow.state.in_(LIVE)).order_by(RunRow.priority, RunRow.id)
    return [_record(row) for row in session.scalars(query)]


def count_by_state(session: Session, execution_id: str) -> dict[str, int]:
    """How many runs of one execution are in each state."""
    query = select(RunRow.state, func.count()).where(RunRow.execution_id == execution_id)
    return {state: int(count) for state, count in session.execute(query.group_by(RunRow.state))}


def count_live(session: Session) -> list[tuple[str, str, int]]:
    """(state, kind, how many) of the queued and running ones."""
    query = select(RunRow.state, RunRow.kind, func.count()).where(RunRow.state.in_(LIVE))
    rows = session.execute(query.group_by(RunRow.state, RunRow.kind))
    return [(state, kind, int(count)) for state, kind, count in rows]


def run_marks(session: Session, run_ids: Collection[str]) -> dict[str, tuple[Any, ...]]:
    """By run: what changes whenever its row does in a way that people are shown; no document is read."""
    columns = (
        RunRow.state,
        RunRow.phase,
        RunRow.bytes_total,
        RunRow.bytes_done,
        RunRow.started,
        RunRow.reading_since,
        RunRow.attempts,
        RunRow.worker_id,
        RunRow.token,
        RunRow.cancel_requested_at,
        RunRow.error_code,
        RunRow.restore_point_id,
        RunRow.snapshot_state,
    )
    rows = session.execute(select(RunRow.id, *columns).where(RunRow.id.in_(run_ids)))
    return {run_id: tuple(values) for run_id, *values in rows}


def take_run(session: Session, run: RunRecord, worker_id: str, now: datetime) -> int:
    """This worker owns the run now; answers its token. The caller holds the admission lock."""
    token = run.token + 1
    values: dict[str, Any] = {"state": "running", "worker_id": worker_id, "token": token}
    if run.started is None:
        values |= {"started": now, "phase": "connecting"}
        seconds = int(run.document.get("deadline_seconds") or 0)
        if seconds:
            values["deadline"] = now + timedelta(seconds=seconds)
    session.execute(update(RunRow).where(RunRow.id == run.id).values(**values))
    return token


def change_run(session: Session, run_id: str, token: int, values: Mapping[str, Any]) -> bool:
    """Change a run that this token owns; False where somebody else owns it by now."""
    changed: Any = session.execute(
        update(RunRow).where(RunRow.id == run_id, RunRow.token == token).values(**values)
    )
    return int(changed.rowcount) == 1


def running_of(session: Session, worker_id: str) -> dict[str, int]:
    """Running runs of that worker, each with its token."""
    owned = (RunRow.state == "running") & (RunRow.worker_id == worker_id)
    return {row.id: row.token for row in session.execute(select(RunRow.id, RunRow.token).where(owned))}


def hand_back(session: Session, worker_id: str) -> list[str]:
    """Running runs of that worker wait for another one; their ids. Raising the token fences it off."""
    owned = (RunRow.worker_id == worker_id) & (RunRow.state == "running")
    ids = list(session.scalars(select(RunRow.id).where(owned)))
    session.execute(
        update(RunRow).where(RunRow.id.in_(ids)).values(state="queued", worker_id="", token=RunRow.token + 1)
    )
    return ids


def request_cancel(session: Session, run_id: str, reason: str, now: datetime) -> bool:
    """Ask a live run to stop: a queued one that never began ends at once. False where it has ended."""
    row = session.get(RunRow, run_id)
    if row is None or row.state in ENDED:
        return False
    if row.cancel_requested_at is None:
        row.cancel_requested_at, row.cancel_reason = now, reason
    if row.state == "queued" and row.started is None:
        row.state, row.finished, row.phase = "cancelled", now, "done"
        row.error_code, row.error_message = "cancelled", f"cancelled before it began: {reason}"
    return True


def prune_runs(session: Session, before: datetime) -> None:
    """Forget runs that ended and were queued before then."""
    old = (RunRow.id < f"{before:%Y%m%dT%H%M%S}") & RunRow.state.in_(ENDED)
    session.execute(delete(RunRow).where(old))


def count_ends(
    session: Session, first: datetime, last: datetime, scope: Scope = EVERYWHERE
) -> dict[str, int]:
    """How many backups queued from ``first`` until ``last`` have ended in each state. Answered by an index."""
    span = (RunRow.id >= f"{first:%Y%m%dT%H%M%S}") & (RunRow.id < f"{last:%Y%m%dT%H%M%S}")
    ended = RunRow.state.in_(ENDED) & (RunRow.kind == "backup")
    seen = within(scope, RunRow.vcenter_id, RunRow.vm_uuid)
    query = select(RunRow.state, func.count()).where(span, ended, seen)
    return {state: int(count) for state, count in session.execute(query.group_by(RunRow.state))}
