"""A lab, a home that knows it, a repository in it, and workers in processes of their own."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from vbm.catalog.runs import ENDED, RunFilter, RunRecord
from vbm.clock import SystemClock
from vbm.lab.machine import Machine
from vbm.lab.model import DiskSpec, MachineSpec
from vbm.lab.server import Lab, LabOptions
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import NoKey
from vbm.services import jobs, repositories, runs, vcenters
from vbm.services.repositories import Key
from vbm.services.vcenters import NewVcenter
from vbm.services.workspace import Workspace
from vbm.settings import Settings

KIB, MIB = 1024, 1024**2
CHILD = Path(__file__).with_name("jobs_worker_child.py")


class JobsRig:
    """``database_url`` empty: SQLite in the home."""

    def __init__(self, folder: Path, database_url: str = "", lab: LabOptions | None = None) -> None:
        self.folder, self.home = folder, folder / "home"
        self.lab = Lab(folder / "lab", lab or LabOptions(preset="empty")).start()
        url = database_url or f"sqlite:///{self.home}/vbm.db"
        self.environment = os.environ | {
            "VBM_HOME": str(self.home),
            "VBM_DATABASE_URL": url,
            "PYTHONFAULTHANDLER": "1",
        }
        self.workspace = Workspace(Settings(self.home, url))
        self.vcenter = NewVcenter(
            name="lab",
            address=f"{self.lab.host}:{self.lab.port}",
            username=self.lab.username,
            password=self.lab.password,
            thumbprint=self.lab.thumbprint,
        )
        vcenters.add(self.workspace, self.vcenter)
        options = RepositoryOptions(chunk_size_bytes=256 * KIB)
        store = (folder / "repository").as_uri()
        repositories.create(self.workspace, "main", store, Key(NoKey()), options)
        self.children: list[subprocess.Popen[bytes]] = []

    def close(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
        self.workspace.close()
        self.lab.stop()

    def machine(self, name: str, size: int = 4 * MIB) -> Machine:
        image = self.folder / f"{name}.img"
        image.write_bytes(random.Random(name).randbytes(size))
        made = self.lab.state.create_machine(MachineSpec(name=name, disks=(DiskSpec(source=image),)))
        made.power_on()
        return made

    def job(self, name: str = "nightly", **fields: Any) -> None:
        document: dict[str, Any] = {
            "name": name,
            "vcenter_id": "lab",
            "repository_id": "main",
            "selection": {"vms": ["*"]},
            "retries": {"attempts": 3, "wait_seconds": 1},
        }
        jobs.create(self.workspace, document | fields)

    def worker(
        self, *arguments: str, ready: bool = True, prefix: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """A worker process; ``arguments`` say where it is to be killed, ``prefix`` runs it on another host."""
        with (self.folder / "worker.log").open("ab") as log:
            child = subprocess.Popen(
                [*prefix, sys.executable, str(CHILD), *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.children.append(child)
        if ready:
            self.ready(child)
        return child

    def ready(self, child: subprocess.Popen[bytes]) -> None:
        """Wait until it takes runs."""
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n", self.log()

    def stop(self, child: subprocess.Popen[bytes]) -> None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGABRT)  # its threads go to the log
            child.wait()
            raise AssertionError(f"a worker does not stop\n{self.log()}") from None

    def log(self) -> str:
        return (self.folder / "worker.log").read_text()

    def runs(self, **wanted: Any) -> list[RunRecord]:
        return runs.listing(self.workspace, RunFilter(**wanted))

    def until(self, true: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Look again and again, at most so long."""
        clock = SystemClock()
        end = clock.monotonic() + seconds
        while not true():
            assert clock.monotonic() < end, f"not within {seconds} s: {what}\n{self.log()}\n{self.states()}"
            clock.sleep(0.05)

    def states(self) -> list[str]:
        """Each run in a few words."""
        return [
            f"{r.vm_name} {r.state} {r.phase} {r.attempts}. {r.worker_id} {r.snapshot_state} {r.error_message}"
            for r in self.runs()
        ]

    def ended(self, count: int, seconds: float = 60) -> list[RunRecord]:
        """The runs, once so many have ended and none is under way."""

        def all_ended() -> bool:
            found = self.runs()
            return len(found) >= count and all(run.state in ENDED for run in found)

        self.until(all_ended, f"{count} runs ended", seconds)
        return self.runs()

    def ours(self) -> list[str]:
        """Our snapshots in the lab."""
        return [
            node.name
            for machine in self.lab.state.machines.values()
            for node in machine.all_snapshots()
            if node.name.startswith("vbm-")
        ]

    def points(self, repository_name: str = "main") -> list[Any]:
        record = repositories.get(self.workspace, repository_name)
        with closing(repositories.open_stored(self.workspace, record)) as repository:
            return list(repository.restore_points())

    def stored(self, point: Any, repository_name: str = "main") -> bytes:
        """The first disk of a restore point."""
        record = repositories.get(self.workspace, repository_name)
        with closing(repositories.open_stored(self.workspace, record)) as repository:
            disk = point.disks[0]
            buffer = bytearray(disk.capacity_bytes)
            repository.disk_reader(point.restore_point_id, disk.disk_key).readinto(0, buffer)
            return bytes(buffer)
