"""Every metric that ``/metrics`` tells: its name, kind, labels and meaning. Names and labels are a contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["gauge", "counter", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """``series``: how many there are, in words, for who plans the monitoring."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    series: str


_VM: Final = ("job", "vm", "vcenter")
_PAIR: Final = "one a VM of each job"
_REPOSITORY: Final = "one a repository"
METRICS: Final = (
    Metric(
        "backup_duration_seconds",
        "histogram",
        _VM,
        "How long successful backups of a VM by a job took, from their start to their end.",
        "13 a VM of each job",
    ),
    Metric(
        "backup_size_bytes",
        "gauge",
        (*_VM, "kind"),
        "The last successful backup: bytes read, changed since the one before, new in the repository, and logical "
        "(the disks' capacity).",
        "4 a VM of each job",
    ),
    Metric("backup_success_total", "counter", _VM, "Backups that made a restore point.", _PAIR),
    Metric(
        "backup_failure_total",
        "counter",
        (*_VM, "reason"),
        "Backups that failed, by the stable code of the error; without vm: the job could not begin.",
        "one a VM of each job and reason that was met",
    ),
    Metric(
        "backup_last_success_timestamp_seconds",
        "gauge",
        _VM,
        "When the last successful backup of the VM by the job ended, in seconds since 1970.",
        _PAIR,
    ),
    Metric(
        "backup_last_run_succeeded",
        "gauge",
        _VM,
        "1 where the last backup of the VM by the job made a restore point, 0 where it failed.",
        _PAIR,
    ),
    Metric(
        "backup_bytes_total",
        "counter",
        ("vcenter", "kind"),
        "Bytes of all successful backups: read, changed, new in the repository, logical.",
        "4 a vCenter",
    ),
    Metric("backup_runs_in_progress", "gauge", (), "Backups that a worker executes now.", "one"),
    Metric("queue_depth", "gauge", (), "Runs of every kind that wait for a worker.", "one"),
    Metric(
        "backup_snapshots_outstanding",
        "gauge",
        ("vcenter",),
        "VMware snapshots of ours that may exist now, those of backups under way too.",
        "one a vCenter",
    ),
    Metric(
        "backup_snapshots_left",
        "gauge",
        ("vcenter",),
        "VMware snapshots of ours that their backup could not remove, or that are older than their job allows.",
        "one a vCenter",
    ),
    Metric(
        "backup_snapshot_oldest_age_seconds",
        "gauge",
        (),
        "Age of the oldest VMware snapshot of ours; 0 where there is none.",
        "one",
    ),
    Metric(
        "restore_duration_seconds",
        "histogram",
        ("vcenter",),
        "How long successful restores of VMs into a vCenter took.",
        "13 a vCenter",
    ),
    Metric(
        "restore_failure_total",
        "counter",
        ("vcenter", "reason"),
        "Restores of VMs that failed, by the stable code of the error.",
        "one a vCenter and reason that was met",
    ),
    Metric(
        "verify_failures_total",
        "counter",
        ("repository",),
        "Verifications of restore points and checks of the repository by workers that found damage.",
        _REPOSITORY,
    ),
    Metric(
        "restore_points",
        "gauge",
        ("vm", "repository"),
        "Restore points that the repository holds of the VM.",
        "one a VM of each repository",
    ),
    Metric(
        "repository_size_bytes",
        "gauge",
        ("repository", "kind"),
        "capacity: of the store; stored: chunks in packs, deduplicated and compressed; logical: what all restore "
        "points would take without that.",
        "3 a repository",
    ),
    Metric(
        "repository_free_bytes",
        "gauge",
        ("repository",),
        "Free space of the repository's store as a worker saw it in the last minutes.",
        _REPOSITORY,
    ),
    Metric(
        "replication_lag_seconds",
        "gauge",
        ("vm", "repository"),
        "Age of the oldest restore point that waits to be replicated; no series where nothing is replicated.",
        "none yet: this version replicates nothing",
    ),
    Metric(
        "worker_up",
        "gauge",
        ("worker",),
        "1 while the worker's heartbeat comes, 0 once it is missing; a worker that was stopped in order has no series.",
        "one a worker",
    ),
)
BY_NAME: Final = {metric.name: metric for metric in METRICS}
