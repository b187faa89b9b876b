"""The durable backup of one VM: prepare → snapshot → read → record → cleanup → retention → finish."""

from __future__ import annotations

from dbos import DBOS

from vbm.workflows import phases, retention
from vbm.workflows.steps import RECOVERIES, Document, ended, step, tried

_prepare = step("prepare", phases.prepare)
_snapshot = step("snapshot", phases.snapshot)
_read = step("read", phases.read)
_record = step("record", phases.record)
_cleanup = step("cleanup", phases.cleanup)
_retain = step("retention", retention.after_backup)


@DBOS.workflow(name="vbm.backup", max_recovery_attempts=RECOVERIES)
def backup_run(run_id: str, attempts: int, wait_seconds: float) -> str:
    """Back up one VM; answers the state in which the run ended."""
    outcome = tried(run_id, attempts, wait_seconds, _attempt)
    if "ok" in outcome:
        kept = _retain(run_id)
        if "error" in kept:
            outcome["ok"]["retention_error"] = kept["error"]["message"]
    return ended(run_id, outcome)


def _attempt(run_id: str, attempt: int) -> Document:
    """One attempt: the snapshot is gone afterwards, or left to the guard and told of."""
    prepared = _prepare(run_id, attempt)
    if "error" in prepared:
        return prepared
    state = prepared["ok"]
    answer = _snapshot(run_id, state)
    if "ok" in answer:
        state = answer["ok"]
        answer = _read(run_id, state)
    if "ok" in answer:
        state = answer["ok"]
        answer = _record(run_id, state)
    cleaned = _cleanup(run_id, state)
    removed = bool(cleaned.get("ok", {}).get("removed"))
    return answer | {"snapshot_removed": removed}
