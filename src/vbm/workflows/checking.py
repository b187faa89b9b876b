"""The check of a restore point as soon as it is made, where its job asks for one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vbm.catalog.restore_points import put_points
from vbm.catalog.runs import change_run, find_run
from vbm.clock import rfc3339
from vbm.errors import NotFoundError
from vbm.ids import RestorePointId
from vbm.notifications.events import Event, EventKind
from vbm.progress import Silent
from vbm.repository.verify import Verified, execute_verify, plan_verify
from vbm.workflows.live import LiveRun
from vbm.workflows.outbox import emit
from vbm.workflows.phases import point_of

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
    mode = str(live.run.document["verify"])
    live.progress.note(f"verifying the restore point: {mode}")
    repository = live.repository()
    plan = plan_verify(repository, [RestorePointId(run.restore_point_id)], read_data=mode == "full")
    found = execute_verify(repository, plan, Silent(), live.stop)
    good = not found.damages and found.restore_points == 1
    result = {
        "mode": mode,
        "good": good,
        "damages": len(found.damages),
        "time": rfc3339(live.doors.clock.now()),
    }
    with live.doors.catalog.writing() as session:
        if good:
            point = point_of(repository.manifest(RestorePointId(run.restore_point_id)), run.repository_id)
            put_points(session, [replace(point, verified=live.doors.clock.now())])
        if (
            change_run(session, run.id, live.token, {"result": run.result | {"verified": result}})
            and not good
        ):
            emit(session, _failed(live, run.restore_point_id, found), live.run.document)
    return result


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
