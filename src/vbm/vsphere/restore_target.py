"""A whole VM made anew from a restore point: by an import lease, or where that can't be, by its files.

Nothing of what is there is touched. Whatever goes wrong, the half-made VM is removed; where even that fails, the
error names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from vbm.cancel import CancelToken
from vbm.disk.extents import ExtentKind, total_bytes
from vbm.disk.reader import DiskReader
from vbm.errors import InputError
from vbm.ids import DiskKey, MoRef
from vbm.progress import Progress, Silent
from vbm.retry import RetryPolicy
from vbm.units import format_size
from vbm.vsphere import finish_restore, half_made, in_place_restore, upload_restore
from vbm.vsphere.faults import (
    BusyError,
    ConnectionLostError,
    HostUnreachableError,
    NoSpaceError,
    SessionLostError,
    UnsupportedCallError,
    WrongThumbprintError,
)
from vbm.vsphere.import_spec import DiskPlan, new_vm
from vbm.vsphere.lease_devices import match
from vbm.vsphere.making import HalfMade, Making, Traces, Untraced
from vbm.vsphere.nfc_lease import LeaseFailedError, LeaseLostError, NfcLease, address_of
from vbm.vsphere.nfc_upload import Uploaded, check_manifest, upload
from vbm.vsphere.restore_placement import Placement, network_backing, place
from vbm.vsphere.restore_spec import RestoreSpec
from vbm.vsphere.session import Session
from vbm.vsphere.soap import vim
from vbm.vsphere.transports.datastore_https import OBJECT_DATASTORES

__all__ = ["Job", "RestoreSpec", "import_vm"]

_TRIES: Final = RetryPolicy(attempts=3, first_seconds=2, longest_seconds=30)
_NOT_THIS_WAY: Final = (UnsupportedCallError, LeaseFailedError, HostUnreachableError, WrongThumbprintError)


@dataclass(frozen=True, slots=True)
class Job:
    """All that the ways of restoring need."""

    session: Session
    document: Mapping[str, Any]
    disks: Mapping[DiskKey, DiskReader]
    files: Mapping[str, bytes]
    spec: RestoreSpec
    placement: Placement
    progress: Progress
    cancel: CancelToken
    traces: Traces
    target: str = ""  # the VM that the disks are for, in place

    def advance(self, key: DiskKey) -> Any:
        """Told of the bytes of that disk that were sent."""
        return lambda size_bytes: self.progress.advance(key, size_bytes)

    def label(self, key: DiskKey) -> str:
        return next((d["label"] for d in self.document.get("disks") or () if d["key"] == key), f"disk {key}")


def import_vm(
    session: Session,
    config: Mapping[str, Any],
    disks: Mapping[DiskKey, DiskReader],
    spec: RestoreSpec,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    *,
    files: Mapping[str, bytes] | None = None,
    traces: Traces | None = None,
    whole: HalfMade | None = None,
) -> MoRef:
    """The new VM, or with ``in_place`` the old one, powered off unless asked for otherwise.

    ``config`` is the captured document, ``disks`` the readers of the disks to be restored, ``files`` captured files
    by name, of which ``vm.nvram`` is used. ``traces``: where what is made is written down. ``whole``: the new VM that
    a process made which died before it was done: only the last steps are missing.
    Raises InputError before anything is made (NameTakenError, PlacementError, NotReplaceableError), NoSpaceError,
    RestoreFailedError, HalfMadeVmError, UploadDamagedError, CancelledError.
    """
    spec.check()
    target = None
    wishes = spec
    if spec.in_place:
        target = in_place_restore.find_target(session, config, disks)
        config, spec = in_place_restore.temporary_vm(target, config, spec, session)
    job = Job(
        session,
        config,
        dict(disks),
        files or {},
        spec,
        place(session, config, spec, own=whole.moref if whole else ""),
        progress or Silent(),
        cancel or CancelToken(),
        traces or Untraced(),
        target.vm.moref if target else "",
    )
    if whole is not None:
        moref = finish_restore.finish(job, MoRef(whole.moref))
        job.traces.done(replace(whole, stage="done"))
        return moref
    for note in job.placement.notes:
        job.progress.note(note)
    _check_disks(job)
    _check_space(job)
    job.progress.phase("downloading")
    making = _make(job)
    if target is None:
        moref = finish_restore.finish(job, MoRef(making.half.moref))
        making.done()
        return moref
    job.progress.phase("committing")
    tidy = in_place_restore.exchange(job, target, making)
    if wishes.power_on:
        finish_restore.power_on(session, target.vm.moref, job.progress, job.cancel)
    if tidy:
        making.done()
    return target.vm.moref


def _check_disks(job: Job) -> None:
    said = {d["key"]: d["capacity_bytes"] for d in job.document.get("disks") or ()}
    for key, reader in job.disks.items():
        if said.get(key) != reader.capacity_bytes:
            raise InputError(
                f"{job.label(key)} has {reader.capacity_bytes} bytes; the configuration says {said.get(key)}"
            )


def _check_space(job: Job) -> None:
    needed = 0
    for key, reader in job.disks.items():
        data = total_bytes((e for e in reader.extents() if e.kind is ExtentKind.DATA), None)
        needed += data
        job.progress.disk(key, job.label(key), data)
    free = job.placement.free_bytes
    if needed > free:
        raise NoSpaceError(
            f"the datastore {job.placement.datastore_name} has {format_size(free)} free; "
            f"the disks hold {format_size(needed)}",
            hint="name another datastore, or free space there; nothing was changed",
        )


def _make(job: Job) -> Making:
    if job.spec.method == "upload":
        return _attempt(job, upload_restore.restore)
    failures = 0
    while True:
        try:
            return _attempt(job, _import)
        except (LeaseLostError, ConnectionLostError, BusyError) as error:
            failures += 1
            if failures >= _TRIES.attempts:
                raise
            job.progress.note(f"the import broke off ({error.message}); it begins again")
            job.cancel.wait(_TRIES.wait_seconds(failures))
        except _NOT_THIS_WAY as error:
            if job.spec.method == "nfc" or job.placement.datastore_type.lower() in OBJECT_DATASTORES:
                raise
            job.progress.note(
                f"no import is possible ({error.message}); the disks' files are uploaded instead"
            )
            return _attempt(job, upload_restore.restore)


def _attempt(job: Job, way: Callable[[Job, Making], MoRef]) -> Making:
    """The VM is whole; a carrier has its disks. On failure nothing is left of this attempt."""
    making = Making.begin(job.traces, job.session, job.spec.name, job.placement.datacenter._moId, job.target)
    try:
        moref = way(job, making)
    except BaseException as error:
        lost = isinstance(error, (ConnectionLostError, SessionLostError))
        half_made.undo(job.session, making, asked=lost or making.half.stage != "begun")
        raise
    making.reach("made" if job.target else "whole", moref=moref)
    return making


def _import(job: Job, making: Making) -> MoRef:
    placement, session = job.placement, job.session
    made = new_vm(
        job.document,
        job.spec,
        placement.datastore_name,
        placement.networks,
        lambda network: network_backing(session, network),
        DiskPlan(tuple(job.disks), lambda _key: f"[{placement.datastore_name}]"),
        mark=making.half.mark,
    )
    spec = vim.vm.VmImportSpec(configSpec=made.config, resPoolEntity=placement.pool)
    reference = session.call(
        lambda _c: placement.pool.ImportVApp(spec=spec, folder=placement.folder, host=placement.host)
    )
    making.reach("leased", lease=reference._moId)
    with NfcLease.when_ready(session, reference, job.cancel) as lease:
        making.reach("made", moref=lease.entity)
        _fill(job, lease, made.addresses)
    return MoRef(lease.entity)


def _fill(job: Job, lease: NfcLease, addresses: Mapping[DiskKey, str]) -> None:
    devices = match(lease.devices, addresses) if addresses else {}
    missing = [key for key in addresses if key not in devices]
    if missing:
        raise LeaseFailedError(f"the import has no place for {', '.join(job.label(k) for k in missing)}")
    total = sum(reader.capacity_bytes for reader in job.disks.values()) or 1
    before = 0
    sent: dict[str, Uploaded] = {}
    for key, reader in job.disks.items():
        lease.progress(100 * before // total)
        address = address_of(devices[key], job.session.endpoint)
        sent[str(key)] = upload(job.session, lease, address, reader, job.advance(key), job.cancel)
        before += reader.capacity_bytes
    check_manifest(lease.manifest(), {str(k): d for k, d in devices.items()}, sent)
