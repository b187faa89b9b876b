"""kill -9 of a backup of a lab machine, at every phase: the next command cleans up, the next backup goes on."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vbm.engine.backup import backup_vm
from vbm.engine.ledger import Ledger
from vbm.engine.result import BackupResult
from vbm.engine.run_context import BackupOptions, RunContext
from vbm.engine.sweep import sweep
from vbm.ids import DiskKey
from vbm.lab.machine import Machine
from vbm.lab.model import DiskSpec, MachineSpec
from vbm.lab.server import Lab, LabOptions
from vbm.objectstore.local import LocalStore
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import NoKey
from vbm.repository.repository import Repository
from vbm.vsphere.inventory import find_vm
from vbm.vsphere.model import Credentials, Endpoint
from vbm.vsphere.session import Session

KIB, MIB = 1024, 1024**2
CHUNK = 256 * KIB
SIZE = 24 * MIB
CHILD = Path(__file__).with_name("engine_lab_child.py")


class Scene:
    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.lab = Lab(folder / "lab", LabOptions(preset="empty")).start()
        image = folder / "disk.img"
        image.write_bytes(random.Random(1).randbytes(SIZE))
        spec = MachineSpec(name="web01", disks=(DiskSpec(source=image),))
        self.machine: Machine = self.lab.state.create_machine(spec)
        self.machine.power_on()
        endpoint = Endpoint("lab", self.lab.host, self.lab.port, thumbprint=self.lab.thumbprint)
        self.session = Session.connect(endpoint, Credentials(self.lab.username, self.lab.password))
        options = RepositoryOptions(chunk_size_bytes=CHUNK)
        Repository.create(LocalStore(folder / "repo"), NoKey(), options).close()

    def close(self) -> None:
        self.session.close()
        self.lab.stop()

    def killed(self, phase: str = "", after_bytes: int = 1 << 60) -> None:
        given = {
            "host": self.lab.host,
            "port": self.lab.port,
            "thumbprint": self.lab.thumbprint,
            "username": self.lab.username,
            "password": self.lab.password,
            "repository": str(self.folder / "repo"),
            "home": str(self.home),
            "vm": "web01",
            "phase": phase,
            "after_bytes": after_bytes,
        }
        child = subprocess.Popen(
            [sys.executable, str(CHILD), json.dumps(given)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        assert child.stdin is not None
        try:
            assert child.stdout.readline() == b"stopped\n"
        finally:
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()

    def frozen(self) -> bytes:
        (node,) = self.ours()
        view = self.machine.frozen_reader(node, 2000)
        try:
            return view.read_at(0, SIZE)
        finally:
            view.close()

    def ours(self) -> list[str]:
        return [n.moref for n in self.machine.all_snapshots() if n.name.startswith("vbm-")]

    def backup(self, options: BackupOptions | None = None) -> BackupResult:
        with Repository.open(LocalStore(self.folder / "repo"), NoKey()) as repo:
            vm = find_vm(self.session, "web01")
            return backup_vm(self.session, vm, repo, options or BackupOptions(), RunContext.of(self.home))

    def stored(self, result: BackupResult) -> bytes:
        with Repository.open(LocalStore(self.folder / "repo"), NoKey()) as repo:
            buffer = bytearray(SIZE)
            repo.disk_reader(result.restore_point, result.disks[0].key).readinto(0, buffer)
            return bytes(buffer)

    def clean(self) -> bool:
        runs = self.home / "runs"
        left = list(runs.iterdir()) if runs.is_dir() else []
        return not self.ours() and not Ledger(self.home).entries() and not left


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


def test_a_backup_goes_on_where_the_killed_one_was(scene: Scene) -> None:
    scene.killed(after_bytes=SIZE // 2)
    expected = scene.frozen()
    scene.machine.guest_write(0, 5 * MIB, b"later" * 1000)
    result = scene.backup()
    assert result.resumed
    assert result.bytes_read <= SIZE // 2 + MIB * 8
    assert result.bytes_read + result.disks[0].bytes_resumed == SIZE
    assert scene.stored(result) == expected
    assert scene.clean()


@pytest.mark.parametrize("phase", ["snapshot", "downloading", "compressing", "committing", "cleanup"])
def test_the_next_command_removes_what_is_left(scene: Scene, phase: str) -> None:
    scene.killed(phase)
    there = scene.ours()
    swept = sweep(scene.session, RunContext.of(scene.home))
    assert len(swept) >= len(there)
    assert all(s.removed for s in swept)
    assert scene.clean()
    result = scene.backup()
    assert not result.resumed
    assert scene.stored(result) == scene.machine.guest_read(0, 0, SIZE)
    assert scene.clean()


def test_killed_after_the_commit_the_restore_point_stands_and_a_new_run_begins(scene: Scene) -> None:
    scene.killed("cleanup")
    result = scene.backup()
    assert not result.resumed
    assert result.read_mode == "incremental"
    with Repository.open(LocalStore(scene.folder / "repo"), NoKey()) as repo:
        assert len(list(repo.restore_points())) == 2
    assert scene.clean()


def test_another_kind_of_backup_does_not_go_on_with_it(scene: Scene) -> None:
    scene.killed(after_bytes=SIZE // 2)
    result = scene.backup(BackupOptions(mode="full"))
    assert not result.resumed
    assert result.bytes_read == SIZE
    assert scene.clean()


def test_an_old_snapshot_is_not_gone_on_with(scene: Scene) -> None:
    scene.killed(after_bytes=SIZE // 2)
    result = scene.backup(replace(BackupOptions(), resume_within_seconds=-1))
    assert not result.resumed
    assert scene.clean()


def _kill_and_recover(scene: Scene, source: random.Random) -> None:
    """Killed somewhere; then either the next command cleans up, or the next backup does."""
    scene.machine.guest_write(0, source.randrange(0, SIZE // MIB - 1) * MIB, source.randbytes(MIB))
    phases = ["connecting", "snapshot", "downloading", "compressing", "committing", "cleanup", "done"]
    if source.random() < 0.5:
        scene.killed(source.choice(phases))
    else:
        scene.killed(after_bytes=source.randrange(1, 64 * KIB))
    if source.random() < 0.5:
        assert all(s.removed for s in sweep(scene.session, RunContext.of(scene.home)))
        assert scene.clean()
    result = scene.backup()
    assert scene.clean()
    if not result.resumed:
        assert scene.stored(result) == scene.machine.guest_read(0, 0, SIZE)
    with Repository.open(LocalStore(scene.folder / "repo"), NoKey()) as repo:
        for manifest in repo.restore_points():
            reader = repo.disk_reader(manifest.restore_point_id, manifest.disks[0].disk_key or DiskKey(0))
            reader.readinto(0, bytearray(SIZE))  # every chunk is there and is what it was


def test_three_random_kills_leave_nothing_wrong(scene: Scene) -> None:
    source = random.Random(1)
    for _ in range(3):
        _kill_and_recover(scene, source)


@pytest.mark.soak
def test_forty_random_kills_leave_nothing_wrong(scene: Scene) -> None:
    source = random.Random(2)
    for _ in range(40):
        _kill_and_recover(scene, source)
