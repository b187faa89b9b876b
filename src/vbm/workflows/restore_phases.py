"""What the step of a restore does."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vbm.catalog.runs import change_run, find_run
from vbm.engine.restore_vm import restore_vm
from vbm.ids import RestorePointId
from vbm.workflows import points
from vbm.workflows.half_made_ledger import CatalogTraces
from vbm.workflows.live import LiveRun
from vbm.workflows.orders import restore_spec

Document = dict[str, Any]


def restore(live: LiveRun, attempt: int) -> Document:
    """Make the VM, or replace the disks of the one that is there."""
    with live.doors.catalog.writing() as database:
        change_run(database, live.run.id, live.token, {"attempts": attempt})
        row = find_run(database, live.run.id)
    if row is not None and row.result:
        return {"result": row.result}  # by a process that died before it could say so
    spec = restore_spec(live.run.parameters)
    if spec.in_place:
        live.lock_vm()
    live.progress.begin_anew()
    if attempt > 1:
        live.drop_session()
    traces = CatalogTraces(live)
    done = restore_vm(
        live.session(),
        live.repository(),
        RestorePointId(live.run.restore_point_id),
        spec,
        progress=live.progress,
        cancel=live.stop,
        clock=live.doors.clock,
        traces=traces,
    )
    result = asdict(done) | {"in_place": spec.in_place, "left_out": list(done.left_out)}
    with live.doors.catalog.writing() as database:
        if change_run(database, live.run.id, live.token, {"result": result}):
            traces.strike_out(database)
    points.reach("making.over")
    return {"result": result}
