"""The durable backup of one VM: prepare → snapshot → read → record → cleanup → verify → retention → finish."""

from __future__ import annotations

from dbos import DBOS

from vbm.workflows import checking, phases, retention
from vbm.workflows.live import OWNED
from vbm.workflows.steps import RECOVERIES, Document, ended, step, tried

_prepare = step("prepare", phases.prepare)
_snapshot = step("snapshot", phases.snapshot)
_read = step("read", phases.read)
_record = step("record", phases.record)
_cleanup = step("cleanup", phases.cleanup)
_check = step("verify-new", checking.after_backup)
_retain = step("retention", retention.after_backup)


@DBOS.workflow(name="vbm.backup", max_recovery_attempts=RECOVERIES)
def backup_run(run_id: str, attempts: int, wait_seconds: float) -> str:
    """Back up one VM; answers the state in which the run ended."""
    with OWNED.watched(run_id):
        return _run(run_id, attempts, wait_seconds)


def _run(run_id: str, attempts: int, wait_seconds: float) -> str:
    outcome = tried(run_id, attempts, wait_seconds, _attempt)
    if "ok" in outcome and _is_good(run_id, outcome["ok"]):
        kept = _retain(run_id)
        if "error" in kept:
            outcome["ok"]["retention_error"] = kept["error"]["message"]
    return ended(run_id, outcome)


def _is_good(run_id: str, made: Document) -> bool:
    """Whether older restore points may go: the new one was verified, or its job does not ask for that."""
    if not checking.wanted(OWNED.get(run_id)):
        return True
    checked = _check(run_id)
    if "error" in checked:
        made["verify_error"] = checked["error"]["message"]
    elif not checked["ok"]["good"]:
        made["verify_error"] = f"it has {checked['ok']['damages']} damaged places"
    return "verify_error" not in made


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
