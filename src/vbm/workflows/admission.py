"""Which queued run may begin now: limits, one run of a VM at a time, backup windows, priorities. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from vbm.catalog.preferences import Preferences
from vbm.catalog.runs import RunRecord
from vbm.policy.windows import Window, open_until, parse_window


@dataclass(frozen=True, slots=True)
class Reach:
    """What a worker serves: vCenter and repository ids; empty sets mean all."""

    vcenters: frozenset[str] = frozenset()
    repositories: frozenset[str] = frozenset()

    def covers(self, run: RunRecord) -> bool:
        return (not self.vcenters or not run.uses_vcenter or run.vcenter_id in self.vcenters) and (
            not self.repositories or run.repository_id in self.repositories
        )


def choose(
    live: Sequence[RunRecord], limits: Preferences, now: datetime, reach: Reach = Reach()
) -> RunRecord | None:
    """The first queued run, in the order given, that breaks no limit together with those running.

    Those that a lost worker had begun come first: their snapshots are there and grow.
    """
    running = [run for run in live if run.state == "running"]
    count = _Count(running)
    for run in sorted(live, key=lambda run: run.started is None):
        if run.state == "queued" and reach.covers(run) and count.admits(run, limits, now):
            return run
    return None


class _Count:
    def __init__(self, running: Sequence[RunRecord]) -> None:
        self.total = len(running)
        self.vms = {(run.vcenter_id, run.vm_uuid) for run in running if run.is_alone}
        self.jobs = Counter(run.job_id for run in running)
        self.vcenters = Counter(run.vcenter_id for run in running if run.uses_vcenter)
        self.repositories = Counter(run.repository_id for run in running)
        self.datastores = Counter((run.vcenter_id, name) for run in running for name in run.datastores)

    def admits(self, run: RunRecord, limits: Preferences, now: datetime) -> bool:
        if run.is_alone and (run.vcenter_id, run.vm_uuid) in self.vms:
            return False
        if not _below(self.total, limits.max_runs):
            return False
        parallel = int(run.document["limits"]["parallel_vms"])
        within = (
            _below(self.jobs[run.job_id], parallel)
            and (not run.uses_vcenter or _below(self.vcenters[run.vcenter_id], limits.max_runs_per_vcenter))
            and _below(self.repositories[run.repository_id], limits.max_runs_per_repository)
            and all(
                _below(self.datastores[run.vcenter_id, name], limits.max_runs_per_datastore)
                for name in run.datastores
            )
        )
        # One that was begun has a snapshot to look after: it goes on whatever the hour, and is stopped there.
        return within and (run.started is not None or window_open(run, now))


def _below(count: int, limit: int) -> bool:
    return limit == 0 or count < limit


def window_of(run: RunRecord) -> Window | None:
    """The backup window of the run's job."""
    schedule = run.document["schedule"]
    if not schedule.get("window"):
        return None
    return parse_window(schedule["window"], schedule["timezone"], schedule["window_end"])


def window_open(run: RunRecord, now: datetime) -> bool:
    window = window_of(run)
    return window is None or open_until(window, now) is not None
