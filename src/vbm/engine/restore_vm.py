"""Restore of a whole VM to vSphere, as a new one or in place, from a restore point alone.

What is made is written down first. A restore that is begun again after its process died removes what was half made,
and where the VM was whole already does only the last steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Protocol

from vbm.cancel import CancelToken
from vbm.clock import Clock, SystemClock
from vbm.engine.sweep_restores import Became, settle, told
from vbm.errors import InputError
from vbm.ids import MoRef, RestorePointId
from vbm.progress import Progress, Silent
from vbm.repository.manifest import Manifest
from vbm.repository.repository import Repository
from vbm.vsphere import finish_restore, half_made
from vbm.vsphere.making import HalfMade, Traces
from vbm.vsphere.restore_spec import HalfMadeVmError, RestoreSpec
from vbm.vsphere.restore_target import import_vm
from vbm.vsphere.session import Session

_PATIENCE_SECONDS: Final = 600.0  # an import lease whose client died ends by itself after some minutes
_LONGEST_WAIT_SECONDS: Final = 15.0


class RestoreTraces(Traces, Protocol):
    """Where this restore writes down what it makes."""

    def own(self) -> list[HalfMade]:
        """What it made in processes that died."""


@dataclass(frozen=True, slots=True)
class RestoredVm:
    """``disks``: how many; ``left_out``: labels of disks that the restore point does not hold."""

    moref: MoRef
    name: str
    vcenter: str
    restore_point: RestorePointId
    disks: int
    capacity_bytes: int
    duration_seconds: float
    left_out: tuple[str, ...] = ()


def restore_vm(
    session: Session,
    repo: Repository,
    point: RestorePointId,
    spec: RestoreSpec,
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    clock: Clock | None = None,
    traces: RestoreTraces | None = None,
) -> RestoredVm:
    """Make the VM anew, or give it its disks back. Where it fails or is cancelled nothing half made remains.

    Raises InputError where the restore point is no VM's, DamagedError where a chunk is not what it was, and what
    the vSphere side raises.
    """
    progress, cancel, clock = progress or Silent(), cancel or CancelToken(), clock or SystemClock()
    begun = clock.monotonic()
    manifest = repo.manifest(point)
    if not manifest.config:
        raise InputError(
            f"restore point {point} holds no VM's configuration, only disks",
            hint="restore its disks: vbm restore disk",
        )
    progress.phase("connecting")
    whole, moref = _gone_on_with(session, traces, spec, progress, cancel) if traces else (None, "")
    disks = {
        e.disk_key: repo.disk_reader(point, e.disk_key) for e in manifest.disks if e.disk_key is not None
    }
    try:
        cancel.check()
        files = {path: repo.read_file(point, path) for path in _files(manifest)}
        if not moref:
            moref = import_vm(
                session,
                manifest.config,
                disks,
                spec,
                progress,
                cancel,
                files=files,
                traces=traces,
                whole=whole,
            )
    finally:
        for reader in disks.values():
            reader.close()
    for disk in manifest.excluded_disks:
        progress.warn(f"{disk.get('label', 'a disk')} is not in the restore point: {disk.get('reason', '')}")
    progress.phase("done")
    return RestoredVm(
        moref=MoRef(moref),
        name=spec.name,
        vcenter=session.endpoint.name,
        restore_point=point,
        disks=len(disks),
        capacity_bytes=manifest.size_bytes,
        duration_seconds=clock.monotonic() - begun,
        left_out=tuple(str(disk.get("label", "")) for disk in manifest.excluded_disks),
    )


def _files(manifest: Manifest) -> list[str]:
    return [entry.path for entry in manifest.files if not entry.is_disk]


def _gone_on_with(
    session: Session, traces: RestoreTraces, spec: RestoreSpec, progress: Progress, cancel: CancelToken
) -> tuple[HalfMade | None, str]:
    """(the new VM that lacks the last steps, the VM that lacks nothing), both empty where all is to be done."""
    whole, done = None, ""
    for half in traces.own():
        if half.stage == "done":
            done = half.target or half.moref
            continue
        became = _settled(session, half, progress, cancel)
        progress.note(told(half, became))
        if became == "waiting":
            traces.release(half.mark)
        elif became == "whole":
            whole = half
        elif became == "gone":
            traces.forget(half.mark)
        else:
            done = half.target
            if spec.power_on:
                finish_restore.power_on(session, done, progress, cancel)
            traces.done(replace(half, stage="done"))
    return whole, done


def _settled(session: Session, half: HalfMade, progress: Progress, cancel: CancelToken) -> Became:
    """As patient as vSphere is with an import that nobody feeds any more."""
    wait_seconds, waited = 1.0, 0.0
    while True:
        try:
            return settle(session, half, progress, waits=half_made.ONCE, by_run=True)
        except HalfMadeVmError as error:
            if waited >= _PATIENCE_SECONDS:
                raise
            progress.note(f"{error.message}; waiting until vSphere lets go of it")
        cancel.wait(wait_seconds)
        waited += wait_seconds
        wait_seconds = min(_LONGEST_WAIT_SECONDS, 2 * wait_seconds)
