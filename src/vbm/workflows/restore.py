"""The durable restore of one VM. Interrupted, it begins anew: what was half made is removed first."""

from __future__ import annotations

from dbos import DBOS

from vbm.workflows import restore_phases
from vbm.workflows.live import OWNED
from vbm.workflows.steps import RECOVERIES, Document, ended, step, tried

_restore = step("restore", restore_phases.restore)


@DBOS.workflow(name="vbm.restore", max_recovery_attempts=RECOVERIES)
def restore_run(run_id: str, attempts: int, wait_seconds: float) -> str:
    """Restore one VM; answers the state in which the run ended."""
    with OWNED.watched(run_id):
        return ended(run_id, tried(run_id, attempts, wait_seconds, _attempt))


def _attempt(run_id: str, number: int) -> Document:
    return _restore(run_id, number)
