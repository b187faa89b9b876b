"""Virtual machines as the administrator sees them: what is there, what is protected, what can be backed up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vbm.cancel import CancelToken
from vbm.ids import VmUuid
from vbm.progress import Progress
from vbm.services import protection, vcenters
from vbm.services.leftovers import remove_leftovers
from vbm.services.workspace import Workspace
from vbm.vsphere import inventory, preflight
from vbm.vsphere.model import DiskVerdict, VirtualMachine


@dataclass(frozen=True, slots=True)
class ListedVm:
    """One VM and whether any known repository holds a restore point of it."""

    vm: VirtualMachine
    protected: bool


@dataclass(frozen=True, slots=True)
class VmReport:
    """One VM with a verdict on each disk and what somebody should know before its backup."""

    vm: VirtualMachine
    protected: bool
    disks: tuple[DiskVerdict, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """VMs in the order in which the servers give them, and what could not be asked."""

    vms: Iterator[ListedVm]
    warnings: tuple[str, ...]


def listing(workspace: Workspace, vcenter: str | None, progress: Progress, cancel: CancelToken) -> Listing:
    """Every VM of that vCenter, or of all that are known. Streams; the sessions end with the iterator.

    Snapshots that killed runs have left are removed on the way and told to ``progress``.
    """
    names = [vcenters.get(workspace, vcenter).name] if vcenter else _all_names(workspace)
    covered, warnings = protection.protected_vms(workspace)
    return Listing(vms=_stream(workspace, names, covered, progress, cancel), warnings=tuple(warnings))


def report(
    workspace: Workspace, vcenter: str | None, name: str, progress: Progress, cancel: CancelToken
) -> VmReport:
    """One VM, disk by disk. NotFoundError with the nearest names where there is none."""
    covered, _ = protection.protected_vms(workspace)
    with vcenters.connect(workspace, vcenter, cancel) as session:
        remove_leftovers(workspace, session, progress, cancel)
        vm = inventory.find_vm(session, name)
    return VmReport(
        vm=vm,
        protected=vm.instance_uuid in covered,
        disks=tuple(preflight.check(vm)),
        remarks=tuple(preflight.remarks(vm)),
    )


def _all_names(workspace: Workspace) -> list[str]:
    known = vcenters.listing(workspace)
    return [v.name for v in known] if known else [vcenters.get(workspace, None).name]


def _stream(
    workspace: Workspace,
    names: list[str],
    covered: frozenset[VmUuid],
    progress: Progress,
    cancel: CancelToken,
) -> Iterator[ListedVm]:
    for name in names:
        with vcenters.connect(workspace, name, cancel) as session:
            remove_leftovers(workspace, session, progress, cancel)
            for vm in inventory.list_vms(session):
                yield ListedVm(vm=vm, protected=vm.instance_uuid in covered)
