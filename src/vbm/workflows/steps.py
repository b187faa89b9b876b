"""Steps of runs, journalled by DBOS: what each answered is kept, so that the way taken after a crash is the same.

After a crash the finished ones are not run again and the interrupted one is. A step never raises: it answers
``{"ok": …}`` or ``{"error": …}``. There is no ``finally`` and no ``except BaseException`` around them: a process that
was fenced off must not clean up under its successor. Cancelling is cooperative: DBOS's own cancel refuses all further
steps, and what a run has made would be left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from dbos import DBOS

from vbm.catalog.errors import CatalogError, CatalogFullError, CatalogLockedError, CatalogReadOnlyError
from vbm.catalog.runs import change_run
from vbm.errors import CancelledError, VbmError
from vbm.workflows import ending, points
from vbm.workflows.live import OWNED, LiveRun
from vbm.workflows.stop import explained

Document = dict[str, Any]
P = ParamSpec("P")
T = TypeVar("T")
RECOVERIES: Final = 10
_log = logging.getLogger(__name__)


def step(
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


_pause = step("wait", _wait)
_finish = step("finish", ending.finish)


def tried(
    run_id: str, attempts: int, wait_seconds: float, attempt: Callable[[str, int], Document]
) -> Document:
    """The outcome of the last attempt: more than one only after errors that may pass."""
    number = 1
    outcome = attempt(run_id, number)
    while number < attempts and outcome.get("error", {}).get("again"):
        waited = _pause(run_id, wait_seconds, outcome["error"])
        if "error" in waited:
            return waited
        number += 1
        outcome = attempt(run_id, number)
    return outcome


def ended(run_id: str, outcome: Document) -> str:
    """The state in which the run ended; this process owns it no longer."""
    answer = _finish(run_id, outcome)
    OWNED.end(run_id)
    return str(answer.get("ok", {}).get("state", "failed"))
