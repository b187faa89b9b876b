"""What a run is asked to do, and what it works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from vbm.cancel import CancelToken
from vbm.clock import Clock, SystemClock
from vbm.engine.audit import AUDIT_CHUNKS
from vbm.engine.checkpoint import EVERY_BYTES, EVERY_SECONDS
from vbm.engine.copier import WORKERS
from vbm.engine.ledger import Ledger
from vbm.ids import DiskKey
from vbm.progress import Progress, Silent
from vbm.retry import RetryPolicy
from vbm.vsphere.snapshot_removal import REMOVALS
from vbm.vsphere.snapshots import CreatePolicy

RESUME_WITHIN_SECONDS: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """``mode`` full reads everything (an active full). ``quiesce_fallback`` False fails the run where the guest
    can't be brought to rest. ``resume_within_seconds``: an interrupted run's older snapshot is not adopted.
    """

    mode: Literal["auto", "full"] = "auto"
    quiesce: bool = False
    quiesce_fallback: bool = True
    exclude_disks: frozenset[DiskKey] = frozenset()
    audit_chunks: int = AUDIT_CHUNKS
    bytes_per_second: int = 0  # 0: no limit
    transport: str | None = None  # by name; None: chosen by what the disks lie on
    workers: int = WORKERS
    job_id: str = ""
    resume_within_seconds: float = RESUME_WITHIN_SECONDS
    checkpoint_seconds: float = EVERY_SECONDS
    checkpoint_bytes: int = EVERY_BYTES


@dataclass(frozen=True, slots=True)
class RunContext:
    """``home`` is VBM_HOME: the ledger and the state of runs live there.

    ``creations`` and ``removals`` say how often a snapshot's creation and removal are tried, and after what waits.
    """

    home: Path
    ledger: Ledger
    clock: Clock = field(default_factory=SystemClock)
    cancel: CancelToken = field(default_factory=CancelToken)
    progress: Progress = field(default_factory=Silent)
    creations: CreatePolicy = field(default_factory=CreatePolicy)
    removals: RetryPolicy = REMOVALS

    @classmethod
    def of(
        cls,
        home: Path,
        *,
        clock: Clock | None = None,
        cancel: CancelToken | None = None,
        progress: Progress | None = None,
    ) -> RunContext:
        return cls(home, Ledger(home), clock or SystemClock(), cancel or CancelToken(), progress or Silent())
