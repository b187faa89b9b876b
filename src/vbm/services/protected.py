"""Virtual machines with what people want to know of them: is it backed up, when last, by which jobs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from vbm.catalog.jobs import JobRecord
from vbm.catalog.restore_points import newest_points
from vbm.errors import NotFoundError
from vbm.services import inventory_cache, jobs
from vbm.services.workspace import Workspace
from vbm.vsphere import preflight
from vbm.vsphere.model import DiskVerdict, VirtualMachine
from vbm.workflows.dispatcher import resolve


@dataclass(frozen=True, slots=True)
class Machine:
    """``last``: when its newest restore point was begun; None: it has none."""

    vm: VirtualMachine
    vcenter: str
    last: datetime | None
    points: int
    jobs: tuple[str, ...]

    @property
    def verdicts(self) -> list[DiskVerdict]:
        return list(preflight.check(self.vm))

    @property
    def capacity_bytes(self) -> int:
        return sum(disk.capacity_bytes for disk in self.vm.disks)


def machines(
    workspace: Workspace, *, vcenter: str = "", name: str = "", protection: bool | None = None
) -> list[Machine]:
    """Those that who asks may see, by name."""
    seen = [s for s in inventory_cache.everything(workspace) if vcenter in {"", s.vcenter.name, s.vcenter.id}]
    with workspace.catalog.reading() as session:
        newest = newest_points(session)
    by_vcenter: dict[str, list[JobRecord]] = {}
    for job in jobs.listing(workspace):
        by_vcenter.setdefault(job.vcenter_id, []).append(job)
    found = []
    for one in seen:
        protecting = _protecting(one.machines, by_vcenter.get(one.vcenter.id, ()))
        for vm in one.machines:
            last, count = newest.get(vm.instance_uuid, (None, 0))
            if name.casefold() not in vm.name.casefold() or protection not in {None, last is not None}:
                continue
            found.append(Machine(vm, one.vcenter.name, last, count, protecting.get(vm.instance_uuid, ())))
    return sorted(found, key=lambda machine: (machine.vm.name.casefold(), machine.vm.instance_uuid))


def _protecting(vms: Iterable[VirtualMachine], known: Iterable[JobRecord]) -> dict[str, tuple[str, ...]]:
    """Names of the enabled jobs of each VM."""
    names: dict[str, tuple[str, ...]] = {}
    candidates = list(vms)
    for job in known:
        if job.enabled:
            chosen, _ = resolve(candidates, job)
            for vm in chosen:
                names[vm.instance_uuid] = (*names.get(vm.instance_uuid, ()), job.name)
    return names


def machine(workspace: Workspace, given: str) -> Machine:
    """The VM of that instance UUID or name. Raises NotFoundError."""
    for found in machines(workspace):
        if given in {found.vm.instance_uuid, found.vm.name}:
            return found
    raise NotFoundError(f"there is no VM {given!r}", hint="look at the list of VMs")
