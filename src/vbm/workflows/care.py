"""The durable check of all that a repository holds, and its garbage collection, asked for by somebody.

Interrupted, both begin anew: a check changes nothing, and a pass that was cut short is made good by the next.
"""

from __future__ import annotations

from dbos import DBOS

from vbm.catalog.runs import change_run
from vbm.repository.gc import GcPlan, execute_gc, plan_gc
from vbm.repository.verdicts import Mode
from vbm.repository.verify import Verified, execute_verify, plan_verify
from vbm.workflows.checking import keep_verdicts
from vbm.workflows.live import OWNED, LiveRun
from vbm.workflows.steps import RECOVERIES, Document, ended, step, tried
from vbm.workflows.verify import DamageFoundError, result_of


def check(live: LiveRun, attempt: int) -> Document:
    """Verify every restore point of the repository. Raises DamageFoundError."""
    _begin(live, attempt)
    mode: Mode = "full" if live.run.parameters["mode"] == "full" else "quick"
    repository = live.repository()
    plan = plan_verify(repository, read_data=mode == "full")
    found = execute_verify(repository, plan, live.progress, live.stop)
    for note in found.notes:
        live.progress.note(note)
    result = result_of(found, mode)
    _keep(live, result)
    keep_verdicts(live, found.by_point(), mode)
    if not found.good:
        raise _damaged(live, found)
    return {"result": result}


def collect(live: LiveRun, attempt: int) -> Document:
    """One pass of garbage collection. Raises GcRunningError, NeedUnknownError."""
    _begin(live, attempt)
    repository = live.repository()
    plan = plan_gc(repository, cancel=live.stop)
    if plan.has_work:
        plan = execute_gc(repository, plan, progress=live.progress, cancel=live.stop)
    result = collected(plan)
    _keep(live, result)
    return {"result": result}


def collected(plan: GcPlan) -> Document:
    """Packs: how many of them, and their bytes."""
    counts = {name: len(getattr(plan, name)) for name in ("condemn", "repack", "delete", "spare", "orphans")}
    sizes = ("condemn_bytes", "copy_bytes", "delete_bytes", "waiting_bytes")
    return counts | {name: getattr(plan, name) for name in sizes}


def _begin(live: LiveRun, attempt: int) -> None:
    with live.doors.catalog.writing() as database:
        change_run(database, live.run.id, live.token, {"attempts": attempt})
    live.progress.begin_anew()


def _keep(live: LiveRun, result: Document) -> None:
    with live.doors.catalog.writing() as database:
        change_run(database, live.run.id, live.token, {"result": result})


def _damaged(live: LiveRun, found: Verified) -> DamageFoundError:
    points, first = len({damage.restore_point for damage in found.damages}), found.damages[0]
    return DamageFoundError(
        f"{points} of {found.restore_points} restore points of {live.run.vm_name} are damaged, "
        f"first {first.restore_point} of {first.vm_name}: {first.message}",
        hint="back those VMs up again: what they still have is stored anew; then check once more",
    )


_check = step("check", check)
_collect = step("gc", collect)


@DBOS.workflow(name="vbm.check", max_recovery_attempts=RECOVERIES)
def check_run(run_id: str, attempts: int, wait_seconds: float) -> str:
    """Check one repository; answers the state in which the run ended."""
    with OWNED.watched(run_id):
        return ended(run_id, tried(run_id, attempts, wait_seconds, _check_attempt))


@DBOS.workflow(name="vbm.gc", max_recovery_attempts=RECOVERIES)
def collect_run(run_id: str, attempts: int, wait_seconds: float) -> str:
    """Collect the garbage of one repository; answers the state in which the run ended."""
    with OWNED.watched(run_id):
        return ended(run_id, tried(run_id, attempts, wait_seconds, _collect_attempt))


def _check_attempt(run_id: str, number: int) -> Document:
    return _check(run_id, number)


def _collect_attempt(run_id: str, number: int) -> Document:
    return _collect(run_id, number)
