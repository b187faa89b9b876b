"""stats, gc, repair and delete as people call them, on a repository by its address alone."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from vbm.disk.raw import RawDisk
from vbm.engine.image import ImageOptions, backup_image
from vbm.objectstore.registry import open_store
from vbm.repository.keys import Passphrase
from vbm.repository.repository import Repository

MIB = 1024 * 1024


class Place:
    """A repository with two restore points of one image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"file://{folder}/store"
        chance = random.Random(3)
        image = folder / "disk.img"
        image.write_bytes(chance.randbytes(3 * MIB))
        with Repository.create(open_store(self.url), Passphrase("secret")) as repo:
            self.first = backup_image(RawDisk(image), repo, ImageOptions(name="old")).restore_point
            image.write_bytes(chance.randbytes(2 * MIB))
            self.second = backup_image(RawDisk(image), repo, ImageOptions(name="new")).restore_point

    def vbm(self, *words: str) -> subprocess.CompletedProcess[str]:
        access = ["--repository-url", self.url, "--passphrase-env", "SECRET"]
        environment = {
            **os.environ,
            "VBM_HOME": str(self.folder / "home"),
            "SECRET": "secret",
            "COLUMNS": "140",
        }
        command = [sys.executable, "-m", "vbm", *words, *access]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    def packs(self) -> int:
        return sum(1 for path in (self.folder / "store/packs").rglob("*") if path.is_file())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_restore_point_is_deleted_and_its_space_collected(place: Place) -> None:
    dry = place.vbm("restore-point", "delete", place.first, "--dry-run")
    assert (dry.returncode, "Would delete" in dry.stdout, "3 MiB" in dry.stdout) == (0, True, True)
    asked = place.vbm("restore-point", "delete", place.first)
    assert (asked.returncode, "add --yes" in asked.stderr) == (2, True)
    assert place.vbm("restore-point", "delete", place.first, "--yes").returncode == 0
    assert place.vbm("restore-point", "show", place.first).returncode == 3
    plan = json.loads(place.vbm("repository", "gc", "--dry-run", "--json").stdout)
    assert (plan["condemn"], plan["delete"]) == (1, 0)
    assert place.vbm("repository", "gc").returncode == 0
    refused = place.vbm("repository", "gc", "--grace-hours", "0")
    assert (refused.returncode, place.packs()) == (2, 2)
    done = place.vbm("repository", "gc", "--grace-hours", "0", "--yes")
    assert (done.returncode, place.packs()) == (0, 1)
    assert place.vbm("repository", "check", "--read-data").returncode == 0


def test_a_pinned_and_an_unknown_one_are_refused(place: Place) -> None:
    assert place.vbm("restore-point", "pin", place.first).returncode == 0
    refused = place.vbm("restore-point", "delete", place.first, "--yes")
    assert (refused.returncode, "unpin it first" in refused.stderr) == (2, True)
    assert place.vbm("restore-point", "delete", "nothing-of-that-id", "--yes").returncode == 3


def test_statistics_say_what_each_machine_costs(place: Place) -> None:
    found = json.loads(place.vbm("repository", "stats", "--json").stdout)
    assert (found["restore_points"], found["chunks"], found["logical_bytes"]) == (2, 5, 5 * MIB)
    shown = place.vbm("repository", "stats").stdout
    assert "Restore points" in shown
    assert "new" in shown


def test_a_lost_index_is_repaired(place: Place) -> None:
    for path in (place.folder / "store/index").iterdir():
        path.unlink()
    assert place.vbm("repository", "check").returncode == 5
    dry = json.loads(place.vbm("repository", "repair", "--dry-run", "--json").stdout)
    assert (dry["packs"], len(dry["unindexed"]), dry["dry_run"]) == (2, 2, True)
    assert place.vbm("repository", "repair", "--yes").returncode == 0
    assert place.vbm("repository", "check", "--read-data").returncode == 0
    assert "nothing to repair" in place.vbm("repository", "repair").stdout
