"""Restores and verifications as runs: queued here by any process, executed by a worker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from vbm.catalog.restore_points import PointRecord
from vbm.catalog.runs import RunRecord, insert_runs
from vbm.catalog.vcenters import VcenterRecord
from vbm.catalog.vm_places import folder_of
from vbm.errors import InputError
from vbm.ids import new_id
from vbm.security.roles import Permission, PermissionMissingError
from vbm.services import identity, trail, vcenters
from vbm.services.workspace import Workspace
from vbm.vsphere.restore_spec import RestoreSpec
from vbm.workflows.orders import PRIORITY, document_of, restore_parameters

Mode = Literal["quick", "full"]


def verify(workspace: Workspace, record: PointRecord, mode: Mode = "full") -> RunRecord:
    """The run that will read the restore point back, or with ``quick`` look that all of it is there."""
    identity.require(Permission.OPERATE, "verify restore points")
    if mode not in ("quick", "full"):
        raise InputError(f"there is no mode {mode!r}", hint="use quick or full")
    known = {v.name: v.id for v in vcenters.listing(workspace)}
    run = _run(workspace, record, "verify", {"mode": mode})
    return _queue(workspace, replace(run, vcenter_id=known.get(record.vcenter, "")), "restore-point.verify")


def restore(workspace: Workspace, record: PointRecord, vcenter: str, spec: RestoreSpec) -> RunRecord:
    """The run that will make the VM anew, or replace the disks of the one that is there.

    ``vcenter`` is a name or an id; empty: the one that it was backed up from. Raises InputError, UnknownNameError.
    """
    identity.require(Permission.OPERATE, "restore VMs")
    if spec.in_place:
        identity.require(Permission.MANAGE, "restore in place")
        spec = replace(spec, name=record.vm_name)
    spec.check()
    target = vcenters.seen(workspace, vcenter or record.vcenter)
    spec = _within_limits(workspace, record, target, spec)
    run = replace(
        _run(workspace, record, "restore", restore_parameters(spec)),
        vcenter_id=target.id,
        datastores=(spec.datastore,) if spec.datastore else (),
    )
    return _queue(workspace, run, "restore-point.restore")


def _within_limits(
    workspace: Workspace, record: PointRecord, target: VcenterRecord, spec: RestoreSpec
) -> RestoreSpec:
    """Who is limited to folders restores into one of them: the one in which the VM lies, where none is named.

    Raises PermissionMissingError.
    """
    who = identity.current()
    if who.scope.has_all_of(target.id):
        return spec
    with workspace.catalog.reading() as session:
        lies_in = folder_of(session, target.id, record.vm_uuid)
    if lies_in is None or not who.scope.covers(target.id, lies_in):
        raise PermissionMissingError(
            f"{who.name} is limited to folders, and {record.vm_name} lies in none of them at {target.name}",
            hint="restore it at the vCenter that it is of",
        )
    if spec.in_place:
        return spec
    folder = spec.folder or lies_in
    if not who.scope.covers(target.id, folder):
        raise PermissionMissingError(
            f"{who.name} may not restore into the folder {folder!r} of {target.name}",
            hint=f"the VM's own folder is {lies_in!r}",
        )
    return replace(spec, folder=folder)


def _run(workspace: Workspace, record: PointRecord, kind: str, parameters: dict[str, Any]) -> RunRecord:
    now = workspace.clock.now()
    return RunRecord(
        id=new_id(now),
        execution_id="",
        job_id="",
        job_name="",
        vm_uuid=record.vm_uuid,
        vm_name=record.vm_name,
        vcenter_id="",
        repository_id=record.repository_id,
        datastores=(),
        document=document_of(kind),
        created=now,
        priority=PRIORITY,
        restore_point_id=record.id,
        kind=kind,
        parameters=parameters,
    )


def _queue(workspace: Workspace, run: RunRecord, action: str) -> RunRecord:
    detail = {"run": run.id, "vm": run.vm_name, **run.parameters}
    with workspace.catalog.writing() as session:
        insert_runs(session, [run])
        trail.note(workspace, session, action, run.restore_point_id, detail)
    return run
