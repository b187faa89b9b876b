"""What the steps of a VM's backup do: each over one phase of the engine, on a state that is plain JSON.

Each may be run again after a crash: preparing makes nothing; the snapshot has a name that is known beforehand;
reading goes on from the last checkpoint, or finds the manifest written; cleaning up removes what is there.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from vbm.cancel import CancelToken
from vbm.catalog.restore_points import PointRecord, list_points, put_points
from vbm.catalog.runs import change_run
from vbm.engine import prepare as preparing
from vbm.engine import snapshot_phase
from vbm.engine.run_context import BackupOptions
from vbm.engine.run_state import RunState
from vbm.engine.transfer import transfer
from vbm.errors import VbmError
from vbm.ids import DiskKey, RunId
from vbm.policy.job import Job
from vbm.repository.manifest import Manifest
from vbm.retry import RetryPolicy, retry
from vbm.vsphere import inventory
from vbm.vsphere.snapshots import SNAPSHOT_PREFIX
from vbm.workflows.live import LiveRun

Document = dict[str, Any]
_NO_ERROR: Final = {"error_code": "", "error_message": "", "error_hint": ""}  # of the attempt before
_RECONNECT: Final = RetryPolicy(attempts=6, first_seconds=1, longest_seconds=20)


def prepare(live: LiveRun, attempt: int) -> Document:
    """Judge the VM, remove what earlier runs of it left, and name the snapshot and the restore point."""
    with live.doors.catalog.writing() as database:
        change_run(database, live.run.id, live.token, {"attempts": attempt} | _NO_ERROR)
    live.lock_vm()
    live.stop.check()
    session, repository = live.session(), live.repository()
    vm = inventory.find_vm(session, live.run.vm_uuid)
    state = preparing.prepare(session, vm, repository, _options(live), live.context())
    own = live.run.id if attempt == 1 else f"{live.run.id}-{attempt}"
    return _out(replace(state, run_id=RunId(own), snapshot=f"{SNAPSHOT_PREFIX}{own}", resumed=False))


def snapshot(live: LiveRun, given: Document) -> Document:
    """Write the snapshot down, then make it, or find it made."""
    live.lock_vm()
    live.stop.check()
    session = live.session()
    vm = inventory.find_vm(session, live.run.vm_uuid)
    return _out(snapshot_phase.take_snapshot(session, vm, _in(given), _options(live), live.context()))


def read(live: LiveRun, given: Document) -> Document:
    """Read and commit; chunks that a killed process has finished are not read again."""
    live.lock_vm()
    state = replace(_in(given), resumed=True)
    done = transfer(live.session(), live.repository(), state, _options(live), live.context())
    return _out(replace(done.state, committed=True))


def record(live: LiveRun, given: Document) -> Document:
    """Write the restore point into the catalog."""
    manifest = live.repository().manifest(_in(given).restore_point)
    result = {
        "read_mode": manifest.read_mode,
        "consistency": manifest.consistency,
        "transport": manifest.transport,
        "bytes_read": manifest.bytes.read,
        "bytes_changed": manifest.bytes.changed,
        "bytes_audited": manifest.bytes.audited,
        "bytes_new": manifest.bytes.new,
        "capacity_bytes": manifest.size_bytes,
    }
    with live.doors.catalog.writing() as database:
        put_points(database, [point_of(manifest, live.run.repository_id)])
        values = {"restore_point_id": manifest.restore_point_id, "result": result}
        change_run(database, live.run.id, live.token, values)
    return {"restore_point": manifest.restore_point_id}


def cleanup(live: LiveRun, given: Document) -> Document:
    """Remove the snapshot, even of a cancelled run; where that fails it stays in the ledger for the guard."""
    state, context = _in(given), live.context(stoppable=False)
    if context.ledger.find(state.snapshot) is None:
        return {"removed": True}
    live.drop_session()
    try:
        session = retry(live.session, _RECONNECT, CancelToken())
        _own(live)
        removed = snapshot_phase.cleanup(session, state, context).snapshot_removed
    except VbmError as error:
        context.ledger.release(state.snapshot)
        live.progress.warn(
            f"the snapshot {state.snapshot} is still there: {error.message}; it is tried again"
        )
        removed = False
    return {"removed": removed}


def _own(live: LiveRun) -> None:
    """Connecting may have taken long: look again before anything is destroyed."""
    live.check_owner()


def point_of(manifest: Manifest, repository_id: str) -> PointRecord:
    """What the catalog keeps of a manifest."""
    return PointRecord(
        id=manifest.restore_point_id,
        repository_id=repository_id,
        vm_uuid=manifest.vm_instance_uuid,
        vm_name=manifest.vm_name,
        vcenter=manifest.vcenter,
        started=manifest.started,
        finished=manifest.finished,
        read_mode=manifest.read_mode,
        consistency=manifest.consistency,
        size_bytes=manifest.size_bytes,
        new_bytes=manifest.bytes.new,
        job_id=manifest.job_id or "",
        run_id=manifest.run_id,
    )


def _options(live: LiveRun) -> BackupOptions:
    job = Job.from_document(live.run.document)
    return BackupOptions(
        mode="full" if job.mode == "full" or _full_is_due(live, job) else "auto",
        quiesce=job.quiesce,
        exclude_disks=frozenset(DiskKey(key) for key in job.excluded_disks),
        bytes_per_second=job.bytes_per_second,
        job_id=live.run.job_id,
        resume_within_seconds=-1,  # each run has its own snapshot; a killed one is gone on with by its own workflow
    )


def _full_is_due(live: LiveRun, job: Job) -> bool:
    """Whether the last restore points of this VM, one fewer than the number, were all read incrementally."""
    if not job.active_full_every:
        return False
    with live.doors.catalog.reading() as database:
        known = list_points(database, vm_uuid=live.run.vm_uuid, repository_id=live.run.repository_id)
    newest = known[: job.active_full_every - 1]
    return len(newest) == job.active_full_every - 1 and all(p.read_mode != "full" for p in newest)


def _in(document: Document) -> RunState:
    return RunState.from_json(json.dumps(document).encode())


def _out(state: RunState) -> Document:
    document: Document = json.loads(state.to_json())
    return document
