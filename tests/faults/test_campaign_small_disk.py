"""A repository on a disk that really fills up: the command says so, nothing is lost, and space mends it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures_campaign import MIB, Vbm, noise_image
from fixtures_small_disk import small_disk
from vbm.lab import guest
from vbm.lab.server import Lab, LabOptions

SIZE = 24 * MIB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small", 16) as folder:
        yield folder


def test_a_disk_that_fills_in_the_middle_of_a_pack(disk: Path, tmp_path: Path) -> None:
    with Lab(tmp_path / "lab", LabOptions(preset="empty")) as lab:
        first = noise_image(tmp_path / "first.raw", 4 * MIB, seed=1)
        second = noise_image(tmp_path / "second.raw", SIZE, seed=2, data_bytes=SIZE - MIB)
        guest.create_vm_from_raw(lab.state, "small01", [first], power_on=True)
        guest.create_vm_from_raw(lab.state, "big01", [second], power_on=True)
        vbm = Vbm(tmp_path / "home", lab.password)
        vbm.add_vcenter(lab.host, lab.port, lab.username, lab.thumbprint)
        vbm.create_repository(disk / "repo")
        point = vbm.json("backup", "small01", "--repository", "main")["restore_point"]

        done = vbm("backup", "big01", "--repository", "main", "--json")

        assert done.exit_code == 1
        assert done.stderr.count("Error:") == 1
        assert "[store-full]" in done.stderr
        assert lab.machine("big01").all_snapshots() == []
        assert [p["id"] for p in vbm.json("restore-point", "list")] == [point]
        assert vbm.restore(point, tmp_path / "o.raw") == first.read_bytes()
        vbm.ok("repository", "check", "main", "--read-data")

        subprocess.run(["mount", "-o", "remount,size=96m", disk], check=True)
        made = vbm.json("backup", "big01", "--repository", "main")
        assert vbm.restore(made["restore_point"], tmp_path / "o.raw") == second.read_bytes()
        vbm.ok("repository", "check", "main", "--read-data")
