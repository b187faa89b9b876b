"""What the first page and the calendar say: are we safe, and if not, what is to be done."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

from vbm.catalog.jobs import JobRecord
from vbm.catalog.repositories import RepositoryRecord, all_repositories
from vbm.catalog.repository_usage import UsageRecord, all_usage
from vbm.catalog.runs import RunFilter, RunRecord
from vbm.catalog.snapshots import SnapshotRecord, outstanding
from vbm.security.roles import Permission
from vbm.services import identity, inventory_cache, jobs, live, protected, runs
from vbm.services.protected import Machine
from vbm.services.workspace import Workspace
from vbm.workflows.maintenance import look_at

_DAY: Final = timedelta(days=1)
_MOST: Final = 20_000  # runs of a day that the dashboard looks at
_FORGOTTEN: Final = timedelta(minutes=15)  # no worker is at work
FULL_PERCENT: Final = 80
UNDER_WAY: Final = 8  # of the runs that go on or wait, on the dashboard
_WORST: Final = ("failed", "cancelled", "warning", "succeeded")


@dataclass(frozen=True, slots=True)
class Space:
    """How full one repository's store is; ``total_bytes`` 0 where the store can't tell.

    ``volume``: equal for repositories on one file system, whose space is to be counted once.
    """

    id: str
    name: str
    url: str
    free_bytes: int
    total_bytes: int
    problem: str = ""
    volume: str = ""

    @property
    def used_percent(self) -> int:
        return 100 - 100 * self.free_bytes // self.total_bytes if self.total_bytes else 0

    @property
    def is_nearly_full(self) -> bool:
        return self.used_percent >= FULL_PERCENT


@dataclass(frozen=True, slots=True)
class Dashboard:
    """``unreachable``: (vCenter, why). ``oldest``: the machine whose last backup is the longest ago."""

    machines: int
    protected: int
    unprotected: tuple[Machine, ...]
    oldest: Machine | None
    last_day: tuple[RunRecord, ...]
    running: tuple[RunRecord, ...]
    failed: tuple[RunRecord, ...]
    snapshots: tuple[SnapshotRecord, ...]
    upcoming: tuple[JobRecord, ...]
    spaces: tuple[Space, ...]
    unreachable: tuple[tuple[str, str], ...]


def dashboard(workspace: Workspace) -> Dashboard:
    """Everything that who asks may see of it."""
    scope = identity.require(Permission.SEE).scope
    now = workspace.clock.now()
    found = protected.machines(workspace)
    recent = runs.visible_briefly(workspace, RunFilter(since=now - _DAY, limit=_MOST))
    with workspace.catalog.reading() as session:
        left = outstanding(session, scope=scope)
    known = [m for m in found if m.last is not None]
    planned = [job for job in jobs.visible(workspace) if job.enabled and job.next_run is not None]
    return Dashboard(
        machines=len(found),
        protected=len(known),
        unprotected=tuple(m for m in found if m.last is None)[:20],
        oldest=min(known, key=lambda m: m.last or now, default=None),
        last_day=tuple(recent[::-1]),
        running=tuple(live.under_way(workspace, UNDER_WAY)),
        failed=tuple(_still_failed(recent)),
        snapshots=tuple(s for s in left if now - s.created > timedelta(seconds=s.timeout_seconds)),
        upcoming=tuple(sorted(planned, key=lambda job: job.next_run or now)[:8]),
        spaces=spaces(workspace),
        unreachable=tuple(
            (s.vcenter.name, s.problem) for s in inventory_cache.everything(workspace) if s.problem
        ),
    )


def _still_failed(recent: list[RunRecord]) -> list[RunRecord]:
    """The last run of each kind, VM and job of a day, where it failed."""
    last: dict[tuple[str, str, str], RunRecord] = {}
    for record in recent:  # the newest first
        last.setdefault((record.kind, record.job_id, record.vm_uuid), record)
    return [record for record in last.values() if record.state == "failed"]


def spaces(workspace: Workspace) -> tuple[Space, ...]:
    """Every repository's store as a worker saw it in the last minutes; where none did, as it is now."""
    now = workspace.clock.now()
    with workspace.catalog.reading() as session:
        known, remembered = all_repositories(session), all_usage(session)
    return tuple(_space(workspace, record, remembered.get(record.id), now) for record in known)


def _space(
    workspace: Workspace, record: RepositoryRecord, remembered: UsageRecord | None, now: datetime
) -> Space:
    if remembered is None or now - remembered.looked > _FORGOTTEN:
        remembered = look_at(workspace.catalog, record, now)
    free, total, problem = remembered.free_bytes, remembered.total_bytes, remembered.problem
    volume = remembered.volume or record.id
    return Space(record.id, record.name, record.url, free, total, problem, volume)


@dataclass(frozen=True, slots=True)
class Day:
    """One day of the calendar: how many runs ended how, and the worst of them (empty where none ran)."""

    date: date
    counts: dict[str, int]

    @property
    def worst(self) -> str:
        return next((state for state in _WORST if self.counts.get(state)), "")


def month(workspace: Workspace, year: int, number: int, zone: tzinfo = UTC) -> list[Day]:
    """Each day of that month in that zone."""
    return days(workspace, [date(year, number, n + 1) for n in range(monthrange(year, number)[1])], zone)


def days(workspace: Workspace, wanted: Sequence[date], zone: tzinfo = UTC) -> list[Day]:
    """Those days in that zone."""
    counts = runs.ends(workspace, [hours(day, zone) for day in wanted])
    return [Day(day, found) for day, found in zip(wanted, counts, strict=True)]


def hours(day: date, zone: tzinfo) -> tuple[datetime, datetime]:
    """When that day begins and ends there, in UTC: 23 to 25 hours."""
    begins = datetime(day.year, day.month, day.day, tzinfo=zone)
    return begins.astimezone(UTC), (begins + timedelta(days=1)).astimezone(UTC)
