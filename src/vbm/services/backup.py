"""One backup of one VM, now: leftovers of killed runs first, then the engine."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field

from vbm.cancel import CancelToken
from vbm.engine.backup import backup_vm
from vbm.engine.result import BackupResult
from vbm.engine.run_context import BackupOptions
from vbm.progress import Progress
from vbm.services import repositories, vcenters
from vbm.services.leftovers import remove_leftovers, run_context
from vbm.services.workspace import Workspace
from vbm.vsphere import inventory, preflight, privileges
from vbm.vsphere.faults import NotLicensedError
from vbm.vsphere.model import DiskVerdict, VirtualMachine
from vbm.vsphere.session import Session


@dataclass(frozen=True, slots=True)
class BackupOrder:
    """What to back up and where to. ``vcenter`` may be None where only one is known."""

    vm: str
    repository: str
    vcenter: str | None = None
    options: BackupOptions = field(default_factory=BackupOptions)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a backup would do: which disks are read and why others are not; in ``remarks`` also missing privileges."""

    vm: VirtualMachine
    disks: tuple[DiskVerdict, ...]
    remarks: tuple[str, ...]


def run(workspace: Workspace, order: BackupOrder, progress: Progress, cancel: CancelToken) -> BackupResult:
    """Make a restore point. Raises what connecting, finding the VM, the engine and the repository raise.

    The repository is opened before any snapshot is made, so that a wrong key costs nothing.
    """
    record = repositories.get(workspace, order.repository)
    with (
        closing(repositories.open_stored(workspace, record)) as repository,
        vcenters.connect(workspace, order.vcenter, cancel) as session,
    ):
        vm = inventory.find_vm(session, order.vm)
        remove_leftovers(workspace, session, progress, cancel, keep_vm=vm.instance_uuid)
        return backup_vm(session, vm, repository, order.options, run_context(workspace, progress, cancel))


def outlook(workspace: Workspace, order: BackupOrder, cancel: CancelToken) -> Outlook:
    """The verdict on each disk without changing anything."""
    repositories.get(workspace, order.repository)
    with vcenters.connect(workspace, order.vcenter, cancel) as session:
        vm = inventory.find_vm(session, order.vm)
        missing = privileges.missing_for_backup(session, vm.moref) or []
        licence = _licence_remark(session)
    remarks = (*preflight.remarks(vm), *(lack.message for lack in missing), *licence)
    return Outlook(vm=vm, disks=tuple(preflight.check(vm)), remarks=remarks)


def _licence_remark(session: Session) -> list[str]:
    try:
        privileges.check_licence(session)
    except NotLicensedError as error:
        return [error.message]
    return []
