"""The check of a restore point as soon as it is made, where its job asks for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vbm.catalog.restore_points import mark_point
from vbm.catalog.runs import change_run, find_run
from vbm.clock import rfc3339
from vbm.errors import NotFoundError, VbmError
from vbm.ids import RestorePointId
from vbm.notifications.events import Event, EventKind
from vbm.progress import Silent
from vbm.repository.verdicts import Mode, Verdict, remember
from vbm.repository.verify import Verified, execute_verify, plan_verify
from vbm.workflows.live import LiveRun
from vbm.workflows.outbox import emit

Document = dict[str, Any]


def wanted(live: LiveRun) -> bool:
    """Whether the job asks for it; the same at each question, for a run keeps its job's document."""
    return str(live.run.document.get("verify", "none")) != "none"


def after_backup(live: LiveRun) -> Document:
    """Verify what this run has made and remember the result with the run. Damage is told, not raised."""
    with live.doors.catalog.reading() as session:
        run = find_run(session, live.run.id)
    if run is None or not run.restore_point_id:
        raise NotFoundError("the run has made no restore point")
    mode: Mode = "full" if live.run.document["verify"] == "full" else "quick"
    point = RestorePointId(run.restore_point_id)
    live.progress.note(f"verifying the restore point: {mode}")
    plan = plan_verify(live.repository(), [point], read_data=mode == "full")
    found = execute_verify(live.repository(), plan, Silent(), live.stop)
    good = not found.damages and found.restore_points == 1
    verdict = keep_verdict(live, point, mode, good=good)
    result = {"mode": mode, "good": good, "damages": len(found.damages), "time": rfc3339(verdict.time)}
    with live.doors.catalog.writing() as session:
        if (
            change_run(session, run.id, live.token, {"result": run.result | {"verified": result}})
            and not good
        ):
            emit(session, _failed(live, run.restore_point_id, found), live.run.document)
    return result


def keep_verdict(live: LiveRun, point: RestorePointId, mode: Mode, *, good: bool) -> Verdict:
    """Remember how a restore point was found; what is to be said of it now."""
    return keep_verdicts(live, {point: good}, mode)[point]


def keep_verdicts(
    live: LiveRun, found: Mapping[RestorePointId, bool], mode: Mode
) -> Mapping[RestorePointId, Verdict]:
    """Remember in the repository and in the catalog how restore points were found."""
    now = live.doors.clock.now()
    try:
        verdicts: Mapping[RestorePointId, Verdict] = remember(live.repository().store, found, mode, now)
    except VbmError as error:
        live.progress.warn(f"the repository does not remember this verification: {error.message}")
        verdicts = {point: Verdict(now, mode, good) for point, good in found.items()}
    with live.doors.catalog.writing() as session:
        for point, verdict in verdicts.items():
            values = {"verified": verdict.time, "verified_mode": verdict.mode, "verified_good": verdict.good}
            mark_point(session, live.run.repository_id, point, values)
    return verdicts


def _failed(live: LiveRun, point: str, found: Verified) -> Event:
    first = found.damages[0].message if found.damages else "it is not there any more"
    return Event(
        kind=EventKind.VERIFY_FAILED,
        message=f"The new restore point of {live.run.vm_name} is damaged: {first}",
        time=live.doors.clock.now(),
        job=live.run.job_name,
        vm=live.run.vm_name,
        run_id=live.run.id,
        about=point,
        remedy="Look at the disks that the repository lies on, then back the VM up again: what is damaged is stored "
        "anew. Older restore points were kept; verify them too.",
        facts=(("Restore point", point), ("Damaged places", str(len(found.damages)))),
    )
