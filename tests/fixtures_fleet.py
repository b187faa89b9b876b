"""Two vCenters with two datastores each, two repositories, jobs from each to each, and workers in namespaces."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Hashable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fixtures_jobs import KIB, JobsRig
from fixtures_lab_log import Place, Span, most_at_once, spans
from fixtures_namespaces import Hosts
from vbm.catalog.preferences import set_preference
from vbm.clock import SystemClock
from vbm.lab.model import DiskSpec, MachineSpec
from vbm.lab.server import Lab, LabOptions
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import NoKey
from vbm.services import jobs, repositories, vcenters
from vbm.services.repositories import Key
from vbm.services.vcenters import NewVcenter

VCENTERS, DATASTORES, REPOSITORIES = ("paris", "oslo"), ("datastore1", "datastore2"), ("near", "far")


@dataclass(frozen=True, slots=True)
class Limits:
    max_runs: int = 5
    max_runs_per_vcenter: int = 3
    max_runs_per_datastore: int = 2
    max_runs_per_repository: int = 3


GROUPS: dict[str, Callable[[Place], Hashable]] = {
    "max_runs": lambda _: "all",
    "max_runs_per_vcenter": lambda place: place.vcenter,
    "max_runs_per_datastore": lambda place: (place.vcenter, place.datastore),
    "max_runs_per_repository": lambda place: place.repository,
}


class Fleet(JobsRig):
    """``count`` VMs of ``size`` bytes, spread evenly. ``where`` None: all on this host."""

    def __init__(self, folder: Path, database_url: str, where: Hosts | None, count: int, size: int) -> None:
        super().__init__(folder, database_url)
        self.hosts, self.size, self.limits = where, size, Limits()
        self.address = where.address if where else "127.0.0.1"
        self.labs = {name: self._lab(name) for name in VCENTERS}
        self.ports = {name: lab.port for name, lab in self.labs.items()}
        for name in REPOSITORIES:
            store = (folder / name).as_uri()
            options = RepositoryOptions(chunk_size_bytes=256 * KIB)
            repositories.create(self.workspace, name, store, Key(NoKey()), options)
        self.places = [self._place(number) for number in range(count)]
        with self.workspace.catalog.writing() as session:
            for name in GROUPS:
                set_preference(session, name, getattr(self.limits, name))

    def close(self) -> None:
        super().close()
        for lab in self.labs.values():
            lab.stop()

    def _lab(self, name: str) -> Lab:
        lab = Lab(self.folder / name, LabOptions(host=self.address, preset="empty")).start()
        lab.state.mount_datastore(DATASTORES[1], "VMFS")
        new = NewVcenter(name, f"{lab.host}:{lab.port}", lab.username, lab.password, lab.thumbprint)
        vcenters.add(self.workspace, new)
        return lab

    def _place(self, number: int) -> Place:
        name, vcenter = f"vm{number:02}", VCENTERS[number % 2]
        datastore, repository = DATASTORES[number // 2 % 2], REPOSITORIES[number // 4 % 2]
        image = self.folder / "image"
        image.write_bytes(self.content(name))
        spec = MachineSpec(name=name, datastore=datastore, disks=(DiskSpec(source=image),))
        machine = self.labs[vcenter].state.create_machine(spec)
        machine.power_on()
        return Place(name, vcenter, datastore, repository, machine.moref, machine.directory)

    def content(self, name: str) -> bytes:
        return random.Random(name).randbytes(self.size)

    def start_jobs(self, **fields: object) -> None:
        """One for each vCenter and repository that has VMs; all begin at once."""
        for vcenter in VCENTERS:
            for repository in REPOSITORIES:
                mine = [p.vm for p in self.places if (p.vcenter, p.repository) == (vcenter, repository)]
                job = {"vcenter_id": vcenter, "repository_id": repository, "selection": {"vms": mine}}
                self.job(f"{vcenter}-{repository}", **job, **fields)
                jobs.run_now(self.workspace, f"{vcenter}-{repository}")

    def begin(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """A worker of that name, on the host of that name where there are hosts."""
        prefix = self.hosts.prefix(name) if self.hosts else ()
        return self.worker(f"name={name}", *arguments, prefix=prefix, ready=False)

    def vcenter_goes(self, name: str) -> None:
        self.labs[name].stop()

    def vcenter_returns(self, name: str) -> None:
        options = LabOptions(host=self.address, port=self.ports[name])
        self.labs[name] = Lab(self.folder / name, options).start()

    def is_read(self, name: str) -> bool:
        """Whether VMs of that vCenter are being read now."""
        wanted = vcenters.get(self.workspace, name).id
        runs = self.runs(states=("running",))
        return any(run.vcenter_id == wanted and run.phase == "downloading" for run in runs)

    def pass_time(self, seconds: float) -> None:
        clock = SystemClock()
        end = clock.monotonic() + seconds
        self.until(lambda: clock.monotonic() >= end, "time passes", seconds + 5)

    def seen(self) -> list[Span]:
        """Every backup, by the vCenters' own logs."""
        return [
            span
            for name in VCENTERS
            for span in spans(self.folder / name, (p for p in self.places if p.vcenter == name))
        ]

    def exceeded(self, limits: Limits) -> list[str]:
        """Which limits the vCenters have seen broken."""
        found = self.seen()
        wrong = []
        for name, group in GROUPS.items():
            most = most_at_once(found, group)
            limit = getattr(limits, name)
            wrong += [f"{name}: {count} in {key}" for key, count in most.items() if count > limit]
        return wrong

    def left(self) -> list[str]:
        """Snapshots of ours that are still there."""
        return [
            node.name
            for lab in self.labs.values()
            for machine in lab.state.machines.values()
            for node in machine.all_snapshots()
        ]

    def wrong_points(self) -> list[str]:
        """VMs without exactly the restore points of their runs, or with other bytes in them than they have."""
        wrong = []
        for name in REPOSITORIES:
            record = repositories.get(self.workspace, name)
            with closing(repositories.open_stored(self.workspace, record)) as repository:
                known = {point.vm_name: point for point in repository.restore_points()}
                for place in (p for p in self.places if p.repository == name):
                    point = known.pop(place.vm, None)
                    if point is None:
                        wrong.append(f"{place.vm} has none")
                        continue
                    buffer = bytearray(self.size)
                    disk = point.disks[0].disk_key
                    repository.disk_reader(point.restore_point_id, disk).readinto(0, buffer)
                    if buffer != self.content(place.vm):
                        wrong.append(f"{place.vm} differs")
                wrong += [f"{vm} has one too many" for vm in known]
        return wrong
