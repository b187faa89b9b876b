"""A lab, a session with it, a repository and a home: what the engine's end-to-end tests work with."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vbm.cancel import CancelToken
from vbm.engine.backup import backup_vm
from vbm.engine.ledger import Ledger
from vbm.engine.result import BackupResult
from vbm.engine.run_context import BackupOptions, RunContext
from vbm.ids import DiskKey, RestorePointId
from vbm.lab.machine import Machine
from vbm.lab.model import DiskSpec, MachineSpec
from vbm.lab.server import Lab, LabOptions
from vbm.objectstore.local import LocalStore
from vbm.progress import Silent
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import NoKey
from vbm.repository.repository import Repository
from vbm.retry import RetryPolicy
from vbm.vsphere.inventory import find_vm
from vbm.vsphere.model import Credentials, Endpoint
from vbm.vsphere.session import Session
from vbm.vsphere.snapshots import CreatePolicy

KIB, MIB = 1024, 1024**2
CHUNK = 256 * KIB
DISK = DiskKey(2000)


class Watcher(Silent):
    """Calls back when a phase begins, and keeps warnings and notes."""

    def __init__(self, **on_phase: Callable[[], None]) -> None:
        self.on_phase = on_phase
        self.phases: list[str] = []
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def phase(self, name: str) -> None:
        self.phases.append(name)
        if name in self.on_phase:
            self.on_phase[name]()

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


class Rig:
    """One lab in this process and the product beside it, which speaks to it over HTTPS alone."""

    def __init__(self, folder: Path, preset: str = "empty") -> None:
        self.folder = folder
        self.home = folder / "home"
        self.lab = Lab(folder / "lab", LabOptions(preset=preset)).start()
        self.session = self.connect()
        store = LocalStore(folder / "repo")
        self.repo = Repository.create(store, NoKey(), RepositoryOptions(chunk_size_bytes=CHUNK))

    def connect(self) -> Session:
        endpoint = Endpoint("lab", self.lab.host, self.lab.port, thumbprint=self.lab.thumbprint)
        return Session.connect(endpoint, Credentials(self.lab.username, self.lab.password))

    def close(self) -> None:
        self.repo.close()
        self.session.close()
        self.lab.stop()

    # -- the lab's side

    def machine(
        self, name: str = "web01", *, disks: int = 1, size: int = 8 * MIB, on: bool = True
    ) -> Machine:
        """A VM whose disks hold random data in their first half and in the last bytes."""
        specs = []
        for number in range(disks):
            image = self.folder / f"{name}-{number}.img"
            source = random.Random(f"{name}{number}")
            with image.open("wb") as file:
                file.truncate(size)
                file.write(source.randbytes(size // 2))
                file.seek(size - 64 * KIB)
                file.write(source.randbytes(64 * KIB))
            specs.append(DiskSpec(source=image))
        made = self.lab.state.create_machine(MachineSpec(name=name, disks=tuple(specs)))
        if on:
            made.power_on()
        return made

    def frozen(self, machine: Machine, disk: int = 0) -> bytes:
        """The disk as our snapshot has frozen it: what a restore must give back."""
        (node,) = [n for n in machine.all_snapshots() if n.name.startswith("vbm-")]
        key = machine.disks[disk].key
        view = machine.frozen_reader(node.moref, key)
        try:
            return view.read_at(0, node.disk(key).capacity_bytes)
        finally:
            view.close()

    def ours(self, machine: Machine) -> list[str]:
        return [n.name for n in machine.all_snapshots() if n.name.startswith("vbm-")]

    # -- the product's side

    def context(self, watcher: Silent | None = None, cancel: CancelToken | None = None) -> RunContext:
        context = RunContext.of(self.home, progress=watcher or Silent(), cancel=cancel or CancelToken())
        soon = RetryPolicy(attempts=2, first_seconds=0.01)
        return replace(context, creations=CreatePolicy(busy=soon, quiesce=soon), removals=soon)

    def backup(
        self,
        name: str = "web01",
        watcher: Silent | None = None,
        cancel: CancelToken | None = None,
        **options: Any,
    ) -> BackupResult:
        vm = find_vm(self.session, name)
        return backup_vm(self.session, vm, self.repo, BackupOptions(**options), self.context(watcher, cancel))

    def stored(self, point: RestorePointId, key: DiskKey = DISK) -> bytes:
        reader = self.repo.disk_reader(point, key)
        buffer = bytearray(reader.capacity_bytes)
        reader.readinto(0, buffer)
        return bytes(buffer)

    def clean(self, machine: Machine) -> bool:
        """No snapshot of ours, nothing in the ledger, no state of a run."""
        runs = self.home / "runs"
        return (
            not (machine.moref in self.lab.state.machines and self.ours(machine))
            and not Ledger(self.home).entries()
            and not (list(runs.iterdir()) if runs.is_dir() else [])
        )
