"""How the last backup of each VM ended: one pass over the runs, for lists of thousands of VMs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vbm.catalog.runs import ENDED, RunRow


@dataclass(frozen=True, slots=True)
class EndedRun:
    """``state`` is one of ``runs.ENDED``; ``message`` and ``code`` of what it failed with."""

    run_id: str
    state: str
    job_name: str
    created: datetime
    code: str
    message: str


def newest_ends(session: Session, vm_uuid: str = "") -> dict[str, EndedRun]:
    """By VM, or of one alone: its newest run that has ended. Cancelled ones say nothing of a VM and are passed over."""
    told = [state for state in ENDED if state != "cancelled"]
    ended = RunRow.state.in_(told) & (RunRow.kind == "backup")
    if vm_uuid:
        ended &= RunRow.vm_uuid == vm_uuid
    newest = select(func.max(RunRow.id)).where(ended).group_by(RunRow.vm_uuid)
    query = select(
        RunRow.vm_uuid,
        RunRow.id,
        RunRow.state,
        RunRow.job_name,
        RunRow.created,
        RunRow.error_code,
        RunRow.error_message,
    ).where(RunRow.id.in_(newest))
    return {row[0]: EndedRun(*row[1:]) for row in session.execute(query)}
