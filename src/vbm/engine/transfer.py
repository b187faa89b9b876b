"""The phases read and commit of a VM's backup: every included disk into one restore point.

Both happen within one writer session of the repository. Called again after a crash, the reading goes on from the
last checkpoint; where the manifest was already written nothing is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vbm.clock import parse_rfc3339
from vbm.engine.reading import ReadDisk, Reading, verify_unchanged
from vbm.engine.result import DiskReport
from vbm.engine.run_context import BackupOptions, RunContext
from vbm.engine.run_state import RunState
from vbm.errors import NotFoundError
from vbm.repository.manifest import ByteCounts, Manifest, ManifestDraft
from vbm.repository.repository import Repository
from vbm.repository.writer import Writer
from vbm.vsphere.session import Session


@dataclass(frozen=True, slots=True)
class Transferred:
    """``read_mode``: incremental where at least one disk was read so."""

    state: RunState
    read_mode: str
    transport: str
    disks: tuple[DiskReport, ...]


def transfer(
    session: Session, repo: Repository, state: RunState, options: BackupOptions, context: RunContext
) -> Transferred:
    """Read all disks, check that nothing moved under them, and write the manifest."""
    written = _written_before(repo, state)
    if written is not None:
        return Transferred(state, written.read_mode, written.transport, ())
    context.progress.phase("downloading")
    with repo.writer(owner=f"run {state.run_id}") as writer:
        reading = Reading(session, repo, writer, state, options, context)
        try:
            disks = reading.all_disks()
        finally:
            reading.close()
        context.progress.phase("compressing")
        verify_unchanged(session, state)
        context.cancel.check()
        context.progress.phase("committing")
        _commit(writer, state, reading, disks, context)
    reset = any(d.reset_cbt or d.outcome.distrusted for d in disks)
    return Transferred(
        replace(state, reset_cbt=state.reset_cbt or reset),
        _read_mode(disks),
        reading.transport_name,
        tuple(d.report for d in disks),
    )


def _written_before(repo: Repository, state: RunState) -> Manifest | None:
    try:
        return repo.manifest(state.restore_point)
    except NotFoundError:
        return None


def _read_mode(disks: Sequence[ReadDisk]) -> str:
    return "incremental" if any(d.outcome.mode == "incremental" for d in disks) else "full"


def _commit(
    writer: Writer, state: RunState, reading: Reading, disks: Sequence[ReadDisk], context: RunContext
) -> None:
    captured = reading.captured
    for path, data in captured.files:
        writer.put_file(path, data)
    for disk in disks:
        writer.put_map(disk.entry, disk.outcome.target)
    stats = [d.outcome.stats for d in disks]
    writer.commit(
        ManifestDraft(
            restore_point_id=state.restore_point,
            run_id=state.run_id,
            vm_name=state.vm_name,
            vm_moref=state.vm,
            vm_instance_uuid=state.vm_uuid,
            vcenter=state.vcenter,
            started=parse_rfc3339(state.started),
            finished=context.clock.now(),
            snapshot=state.snapshot,
            consistency=state.consistency,
            read_mode=_read_mode(disks),
            transport=reading.transport_name,
            bytes=ByteCounts(
                read=sum(s.bytes_read for s in stats),
                changed=sum(d.outcome.bytes_changed for d in disks),
                audited=sum(d.outcome.bytes_audited for d in disks),
                new=sum(s.bytes_new for s in stats),
                zero=sum(s.bytes_zero for s in stats),
            ),
            parent=reading.parent.restore_point_id if reading.parent else None,
            job_id=state.job_id or None,
            config=captured.document,
            excluded_disks=tuple(
                {"disk_key": d.key, "label": d.label, "reason": d.reason, "capacity_bytes": d.capacity_bytes}
                for d in state.excluded
            ),
            notes=reading.notes,
        )
    )
