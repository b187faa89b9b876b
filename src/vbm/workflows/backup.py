"""The durable backup of one VM: prepare → snapshot → read → record → cleanup → retention → finish.

DBOS keeps what each step answered; after a crash the finished ones are not run again and the interrupted one is.
A step never raises: it answers ``{"ok": …}`` or ``{"error": …}``, so that the way taken after a crash is the same.
There is no ``finally`` and no ``except BaseException``: a process that was fenced off must not clean up under its
successor.
Cancelling is cooperative: DBOS's own cancel refuses all further steps and would leave the snapshot.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from dbos import DBOS

from vbm.catalog.errors import CatalogError, CatalogFullError, CatalogLockedError, CatalogReadOnlyError
from vbm.catalog.runs import change_run
from vbm.errors import CancelledError, VbmError
from vbm.workflows import checking, ending, phases, points, retention
from vbm.workflows.live import OWNED, LiveRun
from vbm.workflows.stop import explained

Document = dict[str, Any]
P = ParamSpec("P")
T = TypeVar("T")
RECOVERIES: Final = 10
_log = logging.getLogger(__name__)


def _step(
    name: str, body: Callable[Concatenate[LiveRun, P], Document]
) -> Callable[Concatenate[str, P], Document]:
    """A journalled step over a body that is given the live run."""

    def run(run_id: str, /, *args: P.args, **kwargs: P.kwargs) -> Document:
        live = OWNED.get(run_id)
        patiently(live, live.check_owner)
        points.reach(f"{name}.begin")
        try:
            answer: Document = {"ok": patiently(live, lambda: body(live, *args, **kwargs))}
        except Exception as error:  # noqa: BLE001 - answered, so that it is the same after a crash
            answer = {"error": _failure(live, error)}
        points.reach(f"{name}.end")
        return answer

    return DBOS.step(name=f"vbm.{name}")(run)


def patiently(live: LiveRun, call: Callable[[], T]) -> T:
    """The answer, however long the product's own database is away: a run must not end because of that."""
    wait_seconds = 0.5
    while True:
        try:
            return call()
        except (CatalogError, CatalogLockedError, CatalogReadOnlyError, CatalogFullError) as error:
            _log.warning("run %s waits for the catalog: %s", live.run.id, error.message)
        live.doors.clock.sleep(wait_seconds)
        wait_seconds = min(10.0, 2 * wait_seconds)


def _failure(live: LiveRun, error: Exception) -> Document:
    if isinstance(error, CancelledError):
        error = explained(live.stop, error)
    if isinstance(error, VbmError):
        again = not error.permanent and not live.stop.cancelled
        return {"code": error.code, "message": error.message, "hint": error.hint, "again": again}
    _log.error("run %s: %s", live.run.id, error, exc_info=error)
    text = f"{type(error).__name__}: {error}"
    return {"code": "defect", "message": f"a defect of vbm: {text}", "hint": "", "again": False}


def _wait(live: LiveRun, seconds: float, cause: Document) -> Document:
    """The row says meanwhile that the run waits, and why."""
    live.progress.note(f"trying again in {seconds:.0f} s: {cause['message']}")
    values = {f"error_{part}": cause[part] for part in ("code", "message", "hint")}
    with live.doors.catalog.writing() as session:
        change_run(session, live.run.id, live.token, values | {"phase": "waiting"})
    live.stop.wait(seconds)
    return {}


_prepare = _step("prepare", phases.prepare)
_snapshot = _step("snapshot", phases.snapshot)
_read = _step("read", phases.read)
_record = _step("record", phases.record)
_cleanup = _step("cleanup", phases.cleanup)
_check = _step("verify", checking.after_backup)
_retain = _step("retention", retention.after_backup)
_pause = _step("wait", _wait)
_finish = _step("finish", ending.finish)


@DBOS.workflow(name="vbm.backup", max_recovery_attempts=RECOVERIES)
def backup_run(run_id: str, attempts: int, wait_seconds: float) -> str:
    """Back up one VM; answers the state in which the run ended."""
    with OWNED.watched(run_id):
        return _run(run_id, attempts, wait_seconds)


def _run(run_id: str, attempts: int, wait_seconds: float) -> str:
    attempt = 1
    outcome = _attempt(run_id, attempt)
    while attempt < attempts and outcome.get("error", {}).get("again"):
        waited = _pause(run_id, wait_seconds, outcome["error"])
        if "error" in waited:
            outcome = waited
            break
        attempt += 1
        outcome = _attempt(run_id, attempt)
    if "ok" in outcome and _is_good(run_id, outcome["ok"]):
        kept = _retain(run_id)
        if "error" in kept:
            outcome["ok"]["retention_error"] = kept["error"]["message"]
    ended = _finish(run_id, outcome)
    OWNED.end(run_id)
    return str(ended.get("ok", {}).get("state", "failed"))


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
