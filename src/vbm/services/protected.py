"""Virtual machines with what people want to know of them: is it backed up, when last, by which jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from vbm.catalog.jobs import JobRecord
from vbm.catalog.restore_points import newest_points
from vbm.ids import VmUuid
from vbm.policy.selection import Candidates
from vbm.security.roles import Permission
from vbm.services import identity, inventory_cache, jobs
from vbm.services.inventory_cache import Seen
from vbm.services.workspace import Workspace
from vbm.vsphere import preflight
from vbm.vsphere.model import DiskVerdict, VirtualMachine
from vbm.workflows.resolve import candidates_of


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
    scope = identity.require(Permission.SEE).scope
    seen = [s for s in inventory_cache.whole(workspace) if vcenter in {"", s.vcenter.name, s.vcenter.id}]
    seen_jobs = _names_of_seen_jobs(workspace)
    with workspace.catalog.reading() as session:
        newest = newest_points(session)
    by_vcenter: dict[str, list[JobRecord]] = {}
    for job in jobs.listing(workspace):
        by_vcenter.setdefault(job.vcenter_id, []).append(job)
    found = []
    for one in seen:
        protecting = _protecting(one, by_vcenter.get(one.vcenter.id, ()))
        for vm in one.machines:
            if not scope.covers(one.vcenter.id, vm.folder):
                continue
            last, count = newest.get(vm.instance_uuid, (None, 0))
            if name.casefold() not in vm.name.casefold() or protection not in {None, last is not None}:
                continue
            names = seen_jobs(protecting.get(vm.instance_uuid, ()))
            found.append(Machine(vm, one.vcenter.name, last, count, names))
    return sorted(found, key=lambda machine: (machine.vm.name.casefold(), machine.vm.instance_uuid))


@dataclass(frozen=True, slots=True)
class _Inventory:
    """One vCenter's VMs as rules ask for them. ``mark`` is another whenever a rule could answer otherwise."""

    asked: datetime
    mark: int
    candidates: Candidates


_INVENTORIES: Final[dict[str, _Inventory]] = {}
_PROTECTING: Final[dict[str, tuple[tuple[object, ...], dict[VmUuid, tuple[str, ...]]]]] = {}
_MATCHED: Final[dict[tuple[str, str], tuple[int, datetime, frozenset[VmUuid]]]] = {}


def _protecting(one: Seen, known: Iterable[JobRecord]) -> dict[VmUuid, tuple[str, ...]]:
    """Names of the enabled jobs of each VM."""
    known = list(known)
    state = (_inventory(one).mark, tuple((job.id, job.updated, job.enabled) for job in known))
    kept = _PROTECTING.get(one.vcenter.id)
    if kept is not None and kept[0] == state:
        return kept[1]
    names: dict[VmUuid, tuple[str, ...]] = {}
    for job in known:
        if job.enabled:
            for uuid in _matched(one, job):
                names[uuid] = (*names.get(uuid, ()), job.name)
    _PROTECTING[one.vcenter.id] = (state, names)
    return names


def _matched(one: Seen, job: JobRecord) -> frozenset[VmUuid]:
    """Those that the job selects; looked up again only where the VMs or the job are others."""
    inventory = _inventory(one)
    known = _MATCHED.get((one.vcenter.id, job.id))
    if known is not None and known[:2] == (inventory.mark, job.updated):
        return known[2]
    chosen = inventory.candidates.select(job.job.selection).vms
    found = frozenset(candidate.instance_uuid for candidate in chosen)
    _MATCHED[one.vcenter.id, job.id] = (inventory.mark, job.updated, found)
    return found


def _inventory(one: Seen) -> _Inventory:
    known = _INVENTORIES.get(one.vcenter.id)
    if known is not None and known.asked == one.asked:
        return known
    candidates = Candidates(candidate for candidate, _ in candidates_of(one.machines, one.labels))
    mark = hash(tuple(map(repr, candidates.vms)))
    found = _INVENTORIES[one.vcenter.id] = _Inventory(one.asked, mark, candidates)
    return found


def selected_count(one: Seen, job: JobRecord) -> int:
    """How many of the whole vCenter's VMs the job selects, as it was last seen."""
    return len(_matched(one, job))


def machine(workspace: Workspace, given: str) -> Machine:
    """The VM of that instance UUID or name. Raises NotFoundError."""
    vcenter, vm = inventory_cache.machine(workspace, given)
    with workspace.catalog.reading() as session:
        last, count = newest_points(session, vm.instance_uuid).get(vm.instance_uuid, (None, 0))
    one = next(s for s in inventory_cache.whole(workspace) if s.vcenter.id == vcenter.id)
    protecting = _protecting(one, [j for j in jobs.listing(workspace) if j.vcenter_id == vcenter.id])
    names = _names_of_seen_jobs(workspace)(protecting.get(vm.instance_uuid, ()))
    return Machine(vm, vcenter.name, last, count, names)


def _names_of_seen_jobs(workspace: Workspace) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    """Of names of jobs, those that who asks may see."""
    if identity.current().scope.everything:
        return lambda names: names
    seen = {record.name for record in jobs.visible(workspace)}
    return lambda names: tuple(name for name in names if name in seen)
