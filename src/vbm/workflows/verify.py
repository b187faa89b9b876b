"""The durable verification of one restore point. Interrupted, it begins anew: nothing is changed by it."""

from __future__ import annotations

from typing import Any, Final

from dbos import DBOS

from vbm.catalog.runs import change_run
from vbm.errors import DamagedError, NotFoundError
from vbm.ids import RestorePointId
from vbm.repository.verdicts import Mode
from vbm.repository.verify import Verified, execute_verify, plan_verify
from vbm.workflows.checking import keep_verdict
from vbm.workflows.live import OWNED, LiveRun
from vbm.workflows.steps import RECOVERIES, Document, ended, step, tried

_DAMAGES_KEPT: Final = 100  # of those found, in the run's row


class DamageFoundError(DamagedError):
    """A verification found damage."""

    code = "damage-found"


def verify(live: LiveRun, attempt: int) -> Document:
    """Look, and remember what was found. Raises DamageFoundError."""
    with live.doors.catalog.writing() as database:
        change_run(database, live.run.id, live.token, {"attempts": attempt})
    mode: Mode = "full" if live.run.parameters["mode"] == "full" else "quick"
    live.progress.begin_anew()
    repository, point = live.repository(), RestorePointId(live.run.restore_point_id)
    plan = plan_verify(repository, [point], read_data=mode == "full")
    found = execute_verify(repository, plan, live.progress, live.stop)
    if not found.restore_points:
        raise NotFoundError(f"the restore point {point} was deleted meanwhile")
    for note in found.notes:
        live.progress.note(note)
    result = result_of(found, mode)
    with live.doors.catalog.writing() as database:
        change_run(database, live.run.id, live.token, {"result": result})
    keep_verdict(live, point, mode, good=found.good)
    if not found.good:
        raise _damaged(live, found)
    return {"result": result}


def result_of(found: Verified, mode: str) -> dict[str, Any]:
    """What the run's row keeps of it."""
    document = found.to_document()
    document.pop("points")
    count = len(document["damages"])
    return document | {"mode": mode, "damages": document["damages"][:_DAMAGES_KEPT], "damage_count": count}


def _damaged(live: LiveRun, found: Verified) -> DamageFoundError:
    first, count = found.damages[0], len(found.damages)
    where = f" at {count} places, first" if count > 1 else ""
    what = f"disk {first.disk_key}" if first.disk_key is not None else first.file or "its documents"
    return DamageFoundError(
        f"the restore point {live.run.restore_point_id} of {live.run.vm_name} is damaged{where}: "
        f"{what}: {first.message}",
        hint="back the VM up again: what it still has is stored anew; then verify once more",
    )


_verify = step("verify", verify)


@DBOS.workflow(name="vbm.verify", max_recovery_attempts=RECOVERIES)
def verify_run(run_id: str, attempts: int, wait_seconds: float) -> str:
    """Verify one restore point; answers the state in which the run ended."""
    with OWNED.watched(run_id):
        return ended(run_id, tried(run_id, attempts, wait_seconds, _attempt))


def _attempt(run_id: str, number: int) -> Document:
    return _verify(run_id, number)
