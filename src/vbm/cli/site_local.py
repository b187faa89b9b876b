"""This machine's own data, through the services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vbm.cancel import CancelToken
from vbm.cli import output
from vbm.cli.progress import Remarks
from vbm.cli.site import Document, Site, Told
from vbm.clock import rfc3339
from vbm.errors import VbmError
from vbm.later import later
from vbm.progress import Progress
from vbm.repository.manifest import Manifest
from vbm.services import restore_points
from vbm.services import verify as verification
from vbm.services.access import Where
from vbm.services.workspace import Workspace

if TYPE_CHECKING:
    from vbm.catalog import runs as records
    from vbm.engine.restore_vm import RestoredVm
    from vbm.services import documents, jobs, repositories, restore_vm, runs, vcenters, vms
    from vbm.vsphere.restore_spec import RestoreSpec
else:  # a repository named by its address needs none of these
    records = later("vbm.catalog.runs")
    documents = later("vbm.services.documents")
    jobs = later("vbm.services.jobs")
    repositories = later("vbm.services.repositories")
    restore_vm = later("vbm.services.restore_vm")
    runs = later("vbm.services.runs")
    vcenters = later("vbm.services.vcenters")
    vms = later("vbm.services.vms")


@contextmanager
def opened() -> Iterator[Site]:
    """On the workspace that the environment describes."""
    with Workspace.from_environment() as workspace:
        yield LocalSite(workspace)


class LocalSite:
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def names(self) -> Mapping[str, str]:
        known = {vcenter.id: vcenter.name for vcenter in vcenters.listing(self._workspace)}
        return known | {one.id: one.name for one in repositories.listing(self._workspace)}

    def jobs(self) -> list[Document]:
        return [documents.job_document(record) for record in jobs.listing(self._workspace)]

    def job(self, name: str) -> Document:
        record = jobs.get(self._workspace, name)
        upcoming = jobs.upcoming(record, self._workspace.clock.now())
        return documents.job_document(record) | {"upcoming": [rfc3339(slot) for slot in upcoming]}

    def run_job(self, name: str, vms: Sequence[str], mode: str) -> Document:
        record, execution = jobs.run_now(self._workspace, name, vms=vms, mode=mode)
        return {"job": record.name, "job_id": record.id, "execution_id": execution}

    def wait_for_job(self, execution: Document, cancel: CancelToken) -> list[Document]:
        while True:
            record, found = runs.of_execution(self._workspace, execution["execution_id"])
            if record is not None and record.state == "failed":
                raise VbmError(record.error or "the job could not begin")
            if (
                record is not None
                and record.state == "started"
                and all(r.state in records.ENDED for r in found)
            ):
                return [documents.run_document(run) for run in found]
            cancel.wait(0.5)

    def runs(self, wanted: Mapping[str, Any], limit: int) -> list[Document]:
        job = wanted.get("job")
        chosen = records.RunFilter(
            states=wanted.get("state") or (),
            kinds=wanted.get("kind") or (),
            job_id=runs.job_id_of(self._workspace, job) if job else "",
            vm=wanted.get("vm") or "",
            before=wanted.get("before") or "",
            limit=limit,
        )
        return [documents.run_document(record) for record in runs.listing(self._workspace, chosen)]

    def run(self, run_id: str) -> Document:
        return documents.run_document(runs.get(self._workspace, run_id))

    def cancel_run(self, run_id: str) -> Document:
        return documents.run_document(runs.cancel(self._workspace, run_id))

    def log(self, run_id: str, after: int) -> list[Document]:
        record = runs.get(self._workspace, run_id)
        return [
            {"number": number, "time": rfc3339(line.time), "level": line.level, "message": line.message}
            for number, line in runs.logs(self._workspace, record, after=after)
        ]

    def vms(self, vcenter: str | None, cancel: CancelToken) -> list[Document]:
        listing = vms.listing(self._workspace, vcenter, Remarks(), cancel)
        found = [documents.vm_document(one.vm, protected=one.protected) for one in listing.vms]
        for warning in listing.warnings:
            output.say(f"Warning: {warning}", style="yellow")
        return found

    def points(self, where: Where, vm: str | None, failed: Told) -> Iterator[Document]:
        for one in restore_points.listing(self._workspace, where, vm, failed):
            yield documents.listed_point_document(one)

    def manifest(self, where: Where, given: str) -> tuple[str, Manifest]:
        with restore_points.found(self._workspace, where, given) as found:
            return found.label, found.manifest

    def verify(
        self, where: Where, given: str, *, read_data: bool, progress: Progress, cancel: CancelToken
    ) -> Document:
        with restore_points.found(self._workspace, where, given) as found:
            result = verification.point(self._workspace, where, found, progress, cancel, read_data=read_data)
        return result.to_document()

    def restore_vm(
        self,
        where: Where,
        manifest: Manifest,
        vcenter: str,
        spec: RestoreSpec,
        progress: Progress,
        cancel: CancelToken,
    ) -> Document:
        with restore_points.found(self._workspace, where, manifest.restore_point_id) as found:
            done = restore_vm.restore_vm(self._workspace, found, vcenter, spec, progress, cancel)
        return _made(done)


def _made(done: RestoredVm) -> Document:
    return {
        "restore_point": done.restore_point,
        "name": done.name,
        "moref": done.moref,
        "vcenter": done.vcenter,
        "disks": done.disks,
        "left_out": list(done.left_out),
        "capacity_bytes": done.capacity_bytes,
        "duration_seconds": round(done.duration_seconds, 3),
    }
