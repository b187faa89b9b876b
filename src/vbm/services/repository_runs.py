"""Checks and garbage collections of whole repositories as runs: queued here by any process, executed by a worker."""

from __future__ import annotations

from typing import Any, Literal

from vbm.catalog.runs import RunRecord, insert_runs
from vbm.ids import new_id
from vbm.security.roles import Permission
from vbm.services import identity, repositories, trail
from vbm.services.workspace import Workspace
from vbm.workflows.orders import PRIORITY, document_of


def check(workspace: Workspace, name: str, mode: Literal["quick", "full"]) -> RunRecord:
    """The run that will verify every restore point of the repository."""
    return _queue(workspace, name, "check", Permission.OPERATE, {"mode": mode})


def collect(workspace: Workspace, name: str) -> RunRecord:
    """The run that will collect the repository's garbage."""
    return _queue(workspace, name, "gc", Permission.MANAGE, {})


def _queue(
    workspace: Workspace, name: str, kind: str, permission: Permission, parameters: dict[str, Any]
) -> RunRecord:
    identity.require_everywhere(f"start a {kind} of repositories", permission)
    record = repositories.get(workspace, name)
    now = workspace.clock.now()
    run = RunRecord(
        id=new_id(now),
        execution_id="",
        job_id="",
        job_name="",
        vm_uuid="",
        vm_name=record.name,
        vcenter_id="",
        repository_id=record.id,
        datastores=(),
        document=document_of(kind),
        created=now,
        priority=PRIORITY,
        kind=kind,
        parameters=parameters,
    )
    with workspace.catalog.writing() as session:
        insert_runs(session, [run])
        trail.note(workspace, session, f"repository.{kind}", record.name, {"run": run.id, **parameters})
    return run
