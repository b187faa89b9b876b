"""What ``/metrics`` tells, read from the catalog in one consistent view: all workers and servers write there.

Nothing here grows with the history: ended runs are counted when they end (``catalog.totals``), the rest is grouped by
the database, and no store and no vCenter is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from vbm.catalog.base import Transaction
from vbm.catalog.repositories import all_repositories
from vbm.catalog.repository_usage import all_usage
from vbm.catalog.restore_points import points_held
from vbm.catalog.runs import count_live
from vbm.catalog.snapshots import SnapshotRecord, outstanding
from vbm.catalog.totals import Total, all_totals
from vbm.catalog.vcenters import all_vcenters
from vbm.catalog.workers import all_workers, database_time
from vbm.security.roles import Permission
from vbm.services import identity
from vbm.services.condition import WorkerState
from vbm.services.workspace import Workspace

Labels = tuple[str, ...]
_DAMAGED: Final = "damage-found"


@dataclass(frozen=True, slots=True)
class Histogram:
    """``counts``: how many took up to each of LIMITS, the shorter ones included; the last: all."""

    counts: tuple[int, ...]
    total: float


@dataclass(slots=True)
class Figures:
    """By the metric's name: (values of its labels, in their order, the value)."""

    values: dict[str, list[tuple[Labels, float]]] = field(default_factory=dict)
    histograms: dict[str, list[tuple[Labels, Histogram]]] = field(default_factory=dict)

    def add(self, name: str, value: float, *labels: str) -> None:
        self.values.setdefault(name, []).append((labels, value))

    def add_histogram(self, name: str, total: Total, *labels: str) -> None:
        counts: list[int] = []
        for count in total.lengths:
            counts.append(count + (counts[-1] if counts else 0))
        histogram = Histogram(tuple(counts), total.seconds)
        self.histograms.setdefault(name, []).append((labels, histogram))


def check_reader() -> None:
    """Raises NotSignedInError, or PermissionMissingError where who asks is limited to some vCenters."""
    identity.require_everywhere("read the metrics, which tell of all", Permission.SEE)


def gather(workspace: Workspace) -> Figures:
    """Every figure as it is now. Raises as ``check_reader`` does."""
    check_reader()
    figures, now = Figures(), workspace.clock.now()
    with workspace.catalog.reading() as session:
        totals = all_totals(session)
        _live(figures, session)
        _snapshots(figures, session, now)
        _repositories(figures, session, totals)
        _workers(figures, session)
    for total in totals:
        _TOLD[total.kind](figures, total)
    return figures


def _backup(figures: Figures, total: Total) -> None:
    labels = (total.job, total.vm_name, total.vcenter)
    for reason, count in total.failed.items():
        figures.add("backup_failure_total", count, *labels, reason)
    if not total.vm_name:
        return
    figures.add("backup_success_total", total.succeeded, *labels)
    figures.add_histogram("backup_duration_seconds", total, *labels)
    for kind, size in total.sizes.items():
        figures.add("backup_size_bytes", size, *labels, kind)
    if total.last_success is not None:
        figures.add("backup_last_success_timestamp_seconds", total.last_success.timestamp(), *labels)
    if total.last_good is not None:
        figures.add("backup_last_run_succeeded", total.last_good, *labels)


def _volume(figures: Figures, total: Total) -> None:
    for kind, size in total.sizes.items():
        figures.add("backup_bytes_total", size, total.vcenter, kind)


def _restore(figures: Figures, total: Total) -> None:
    figures.add_histogram("restore_duration_seconds", total, total.vcenter)
    for reason, count in total.failed.items():
        figures.add("restore_failure_total", count, total.vcenter, reason)


def _verify(_figures: Figures, _total: Total) -> None:
    """Told with its repository, also where there was none."""


_TOLD: Final = {"backup": _backup, "volume": _volume, "restore": _restore, "verify": _verify}


def _live(figures: Figures, session: Transaction) -> None:
    counts = count_live(session)
    figures.add("queue_depth", sum(n for state, _, n in counts if state == "queued"))
    running = sum(n for state, kind, n in counts if (state, kind) == ("running", "backup"))
    figures.add("backup_runs_in_progress", running)


def _snapshots(figures: Figures, session: Transaction, now: datetime) -> None:
    found = outstanding(session)  # one a backup under way, and what was left: never many
    names = {vcenter.id: vcenter.name for vcenter in all_vcenters(session)}
    names |= {record.vcenter_id: record.vcenter_name for record in found if record.vcenter_id not in names}
    for vcenter_id, name in names.items():
        there = [record for record in found if record.vcenter_id == vcenter_id]
        figures.add("backup_snapshots_outstanding", len(there), name)
        figures.add("backup_snapshots_left", sum(_is_left(record, now) for record in there), name)
    ages = [max(0.0, (now - record.created).total_seconds()) for record in found]
    figures.add("backup_snapshot_oldest_age_seconds", max(ages, default=0.0))


def _is_left(record: SnapshotRecord, now: datetime) -> bool:
    return record.released or now - record.created > timedelta(seconds=record.timeout_seconds)


def _repositories(figures: Figures, session: Transaction, totals: Iterable[Total]) -> None:
    known = {repository.id: repository.name for repository in all_repositories(session)}
    logical = dict.fromkeys(known, 0)
    for repository_id, vm, count, size in points_held(session):
        if repository_id in known:
            figures.add("restore_points", count, vm, known[repository_id])
            logical[repository_id] += size
    usage = all_usage(session)
    damaged = {total.repository: total.failed.get(_DAMAGED, 0) for total in totals if total.kind == "verify"}
    for repository_id, name in known.items():
        figures.add("repository_size_bytes", logical[repository_id], name, "logical")
        figures.add("verify_failures_total", damaged.get(name, 0), name)
        found = usage.get(repository_id)
        if found is not None and found.stored_bytes is not None:
            figures.add("repository_size_bytes", found.stored_bytes, name, "stored")
        if found is not None and found.total_bytes and not found.problem:
            figures.add("repository_size_bytes", found.total_bytes, name, "capacity")
            figures.add("repository_free_bytes", found.free_bytes, name)


def _workers(figures: Figures, session: Transaction) -> None:
    now = database_time(session)
    newest = {worker.name: worker for worker in sorted(all_workers(session), key=lambda w: w.heartbeat)}
    for name, worker in sorted(newest.items()):
        if not (worker.dead and worker.draining):
            state = WorkerState(worker, max(0.0, now - worker.heartbeat)).state
            figures.add("worker_up", state != "gone", name)
