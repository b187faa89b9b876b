"""All virtual machines as one page shows them, as a tree and a table: which are protected, which fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from vbm.catalog.jobs import JobRecord
from vbm.catalog.newest import FailedRun, newest_failures
from vbm.services import inventory_cache, jobs, protected
from vbm.services.protected import Machine
from vbm.services.workspace import Workspace

Show = Literal["all", "unprotected", "failing", "jobless"]
Order = Literal["name", "oldest", "largest"]
PAGE: Final = 100
State = Literal["failing", "unprotected", "protected"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody looks for. ``older_days``: the last restore point is that old, or there is none; 0: any."""

    vcenter: str = ""
    folder: str = ""
    show: Show = "all"
    older_days: int = 0
    search: str = ""
    order: Order = "name"
    page: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """``failed``: its last backup, where that failed. ``next_run``: of its enabled jobs, the first."""

    machine: Machine
    failed: FailedRun | None = None
    next_run: datetime | None = None

    @property
    def state(self) -> State:
        if self.failed is not None:
            return "failing"
        return "protected" if self.machine.last is not None else "unprotected"

    @property
    def chips(self) -> tuple[str, ...]:
        """What makes its backup slow, incomplete or impossible, in two or three words each."""
        vm = self.machine.vm
        held = {
            "can't be backed up": bool(vm.skip_reason),
            "no job": not self.machine.jobs and not vm.skip_reason,
            "CBT off": not vm.cbt_enabled and bool(self.machine.last),
            "has snapshots": bool(vm.snapshot_names),
            "needs consolidation": vm.consolidation_needed,
            "disk left out": not vm.skip_reason and any(not v.included for v in self.machine.verdicts),
        }
        return tuple(chip for chip, true in held.items() if true)


@dataclass(frozen=True, slots=True)
class Branch:
    """One line of the tree; ``path`` is empty for a vCenter itself. ``machines`` counts those below too."""

    vcenter: str
    path: str
    machines: int

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2] or self.vcenter

    @property
    def depth(self) -> int:
        return self.path.count("/") + 1 if self.path else 0


@dataclass(frozen=True, slots=True)
class Fleet:
    """One page of it. ``counts``: how many there are of each ``Show``, whatever was searched for."""

    rows: tuple[Row, ...]
    matching: int
    page: int
    pages: int
    counts: dict[str, int]
    tree: tuple[Branch, ...]
    unreachable: tuple[tuple[str, str, str], ...]


_SHOWN: Final[dict[Show, Callable[[Row], bool]]] = {
    "all": lambda _row: True,
    "unprotected": lambda row: row.machine.last is None,
    "failing": lambda row: row.state == "failing",
    "jobless": lambda row: not row.machine.jobs,
}


def fleet(workspace: Workspace, wanted: Wanted) -> Fleet:
    """As far as who asks may see. At most a minute old."""
    now = workspace.clock.now()
    every = _rows(workspace, protected.machines(workspace))
    found = [row for row in every if _SHOWN[wanted.show](row) and _fits(row, wanted, now)]
    pages = max(1, -(-len(found) // PAGE))
    page = min(max(1, wanted.page), pages)
    ordered = _ordered(found, wanted.order, now)[(page - 1) * PAGE : page * PAGE]
    seen = inventory_cache.everything(workspace)
    return Fleet(
        rows=tuple(ordered),
        matching=len(found),
        page=page,
        pages=pages,
        counts={show: sum(1 for row in every if fits(row)) for show, fits in _SHOWN.items()},
        tree=_tree([s.vcenter.name for s in seen], [row.machine for row in every]),
        unreachable=tuple((s.vcenter.name, s.problem, s.hint) for s in seen if s.problem),
    )


def one(workspace: Workspace, given: str) -> Row:
    """The VM of that instance UUID or name. Raises NotFoundError."""
    return _rows(workspace, [protected.machine(workspace, given)])[0]


def jobs_of(workspace: Workspace, machine: Machine) -> list[JobRecord]:
    """Its enabled jobs, the one that runs next first."""
    found = [job for job in jobs.visible(workspace) if job.name in machine.jobs]
    return sorted(found, key=lambda job: (job.next_run is None, job.next_run or job.created, job.name))


def _rows(workspace: Workspace, machines: Sequence[Machine]) -> list[Row]:
    planned = {job.name: job.next_run for job in jobs.visible(workspace) if job.enabled}
    with workspace.catalog.reading() as session:
        failures = newest_failures(session, machines[0].vm.instance_uuid if len(machines) == 1 else "")
    rows = []
    for machine in machines:
        slots = [slot for name in machine.jobs if (slot := planned.get(name)) is not None]
        rows.append(Row(machine, failures.get(machine.vm.instance_uuid), min(slots, default=None)))
    return rows


def _fits(row: Row, wanted: Wanted, now: datetime) -> bool:
    machine, vm = row.machine, row.machine.vm
    text = wanted.search.strip().casefold()
    if wanted.vcenter and wanted.vcenter != machine.vcenter:
        return False
    if wanted.folder and not f"{vm.folder}/".startswith(f"{wanted.folder.strip('/')}/"):
        return False
    if text and text not in vm.name.casefold() and text != vm.instance_uuid:
        return False
    limit = now - timedelta(days=wanted.older_days)
    return not wanted.older_days or machine.last is None or machine.last < limit


def _ordered(rows: list[Row], order: Order, now: datetime) -> list[Row]:
    if order == "oldest":
        never = datetime.min.replace(tzinfo=now.tzinfo)
        return sorted(rows, key=lambda row: row.machine.last or never)
    if order == "largest":
        return sorted(rows, key=lambda row: -row.machine.capacity_bytes)
    return rows


def _tree(vcenters: Sequence[str], machines: Sequence[Machine]) -> tuple[Branch, ...]:
    """Every vCenter and every folder that holds a VM somewhere below, in the order in which a tree is drawn."""
    counts: Counter[tuple[str, str]] = Counter({(name, ""): 0 for name in vcenters})
    for (vcenter, folder), number in Counter((m.vcenter, m.vm.folder) for m in machines).items():
        counts[vcenter, ""] += number
        parts = folder.split("/") if folder else []
        for depth in range(len(parts)):
            counts[vcenter, "/".join(parts[: depth + 1])] += number
    order = sorted(counts, key=lambda at: (at[0].casefold(), [part.casefold() for part in at[1].split("/")]))
    return tuple(Branch(vcenter, path, counts[vcenter, path]) for vcenter, path in order)
