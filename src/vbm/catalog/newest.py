"""Which VMs' last backup failed: one pass over an index of the runs, for lists of thousands of VMs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vbm.catalog.runs import ENDED, RunRow


@dataclass(frozen=True, slots=True)
class FailedRun:
    """``message`` and ``code`` of what it failed with."""

    run_id: str
    job_name: str
    created: datetime
    code: str
    message: str


def newest_failures(session: Session, vm_uuid: str = "") -> dict[str, FailedRun]:
    """By VM, or of one alone: the backup that ended last, where it failed. Cancelled ones say nothing of a VM."""
    told = [state for state in ENDED if state != "cancelled"]
    ended = RunRow.state.in_(told) & (RunRow.kind == "backup")
    if vm_uuid:
        ended &= RunRow.vm_uuid == vm_uuid
    newest = select(func.max(RunRow.id)).where(ended).group_by(RunRow.vm_uuid)
    query = select(
        RunRow.vm_uuid,
        RunRow.id,
        RunRow.job_name,
        RunRow.created,
        RunRow.error_code,
        RunRow.error_message,
    ).where(RunRow.id.in_(newest), RunRow.state == "failed")
    return {row[0]: FailedRun(*row[1:]) for row in session.execute(query)}
