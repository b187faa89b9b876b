"""Virtual machines with what people want to know of them: is it backed up, when last, by which jobs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from vbm.catalog.jobs import JobRecord
from vbm.catalog.restore_points import newest_points
from vbm.errors import NotFoundError
from vbm.ids import VmUuid
from vbm.services import inventory_cache, jobs
from vbm.services.inventory_cache import Seen
from vbm.services.workspace import Workspace
from vbm.vsphere import preflight
from vbm.vsphere.model import DiskVerdict, VirtualMachine
from vbm.workflows.resolve import pick


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
        protecting = _protecting(one, by_vcenter.get(one.vcenter.id, ()))
        for vm in one.machines:
            last, count = newest.get(vm.instance_uuid, (None, 0))
            if name.casefold() not in vm.name.casefold() or protection not in {None, last is not None}:
                continue
            found.append(Machine(vm, one.vcenter.name, last, count, protecting.get(vm.instance_uuid, ())))
    return sorted(found, key=lambda machine: (machine.vm.name.casefold(), machine.vm.instance_uuid))


_MATCHED: Final[dict[tuple[str, str], tuple[datetime, datetime, frozenset[VmUuid]]]] = {}


def _protecting(one: Seen, known: Iterable[JobRecord]) -> dict[VmUuid, tuple[str, ...]]:
    """Names of the enabled jobs of each VM."""
    names: dict[VmUuid, tuple[str, ...]] = {}
    for job in known:
        if job.enabled:
            for uuid in _matched(one, job):
                names[uuid] = (*names.get(uuid, ()), job.name)
    return names


def _matched(one: Seen, job: JobRecord) -> frozenset[VmUuid]:
    """Those that the job selects; looked up again only where the inventory or the job is another."""
    known = _MATCHED.get((one.vcenter.id, job.id))
    if known is not None and known[:2] == (one.asked, job.updated):
        return known[2]
    found = frozenset(vm.instance_uuid for vm in pick(one.machines, job.job.selection, one.labels).vms)
    _MATCHED[one.vcenter.id, job.id] = (one.asked, job.updated, found)
    return found


def machine(workspace: Workspace, given: str) -> Machine:
    """The VM of that instance UUID or name. Raises NotFoundError."""
    for found in machines(workspace):
        if given in {found.vm.instance_uuid, found.vm.name}:
            return found
    raise NotFoundError(f"there is no VM {given!r}", hint="look at the list of VMs")
