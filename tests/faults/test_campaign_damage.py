"""Damage to each kind of object of a repository, seen from the command line, and what the next backup makes of it.

Whatever is damaged: a check names the restore points it touches, a restore gives right bytes or none, and the next
backup is whole again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures_campaign import MIB, Vbm, noise_image
from vbm.lab import guest
from vbm.lab.server import Lab, LabOptions

SIZE = 4 * MIB
DISK = 2000


class Damaged:
    """A repository with a full and an incremental restore point of one VM, put back before each damage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lab = Lab(folder / "state", LabOptions(preset="empty")).start()
        image = noise_image(folder / "disk.raw", SIZE)
        guest.create_vm_from_raw(self.lab.state, "web01", [image], power_on=True)
        self.vbm = Vbm(folder / "home", self.lab.password)
        self.vbm.add_vcenter(self.lab.host, self.lab.port, self.lab.username, self.lab.thumbprint)
        self.vbm.create_repository(folder / "repo", "--passphrase-env", "REPO_PW")
        self.contents = {}
        for _ in range(2):
            content = self.content()
            self.contents[self.back_up()["restore_point"]] = content
            self.lab.machine("web01").guest_write(0, MIB, bytes(range(256)) * (MIB // 256))
        self.old, self.new = self.contents
        shutil.copytree(folder / "repo", folder / "kept")

    def renew(self) -> None:
        shutil.rmtree(self.folder / "repo")
        shutil.copytree(self.folder / "kept", self.folder / "repo")

    def content(self) -> bytes:
        guest.dump(self.lab.machine("web01"), 0, self.folder / "now.raw")
        return (self.folder / "now.raw").read_bytes()

    def back_up(self) -> Any:
        return self.vbm.json("backup", "web01", "--repository", "main")

    def files(self, kind: str) -> list[Path]:
        """The objects of a kind, the oldest first."""
        patterns = {
            "pack": "packs/*/*",
            "index": "index/*",
            "map": "**/*.map",
            "manifest": "**/manifest.json",
        }
        found = [path for path in (self.folder / "repo").glob(patterns[kind]) if path.is_file()]
        assert len(found) >= 2, kind
        return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))

    def check(self) -> tuple[int, dict[str, Any]]:
        done = self.vbm("repository", "check", "main", "--read-data", "--json")
        assert "Traceback" not in done.output
        return done.exit_code, json.loads(done.stdout)

    def restored(self, point: str) -> bytes | None:
        """Its bytes, or None where that is refused with one clear error."""
        output = self.folder / "restored.raw"
        done = self.vbm("restore", "disk", point, "--disk", "0", "--output", str(output))
        if done.exit_code == 0:
            content = output.read_bytes()
            output.unlink()
            return content
        assert done.exit_code == 5, done.output
        assert done.stderr.count("Error:") == 1
        assert not output.exists()
        return None


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Damaged]:
    made = Damaged(tmp_path_factory.mktemp("damage"))
    yield made
    made.lab.stop()


def flip(paths: list[Path]) -> None:
    content = bytearray(paths[0].read_bytes())
    content[len(content) // 2] ^= 1
    _write(paths[0], bytes(content))


def truncate(paths: list[Path]) -> None:
    _write(paths[0], paths[0].read_bytes()[: paths[0].stat().st_size // 2])


def empty(paths: list[Path]) -> None:
    _write(paths[0], b"")


def remove(paths: list[Path]) -> None:
    paths[0].unlink()


def swap(paths: list[Path]) -> None:
    first, last = paths[0].read_bytes(), paths[-1].read_bytes()
    _write(paths[0], last)
    _write(paths[-1], first)


def _write(path: Path, content: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(content)


Harm = Callable[[list[Path]], None]


@pytest.mark.parametrize("harm", [flip, truncate, empty, remove, swap])
@pytest.mark.parametrize("kind", ["pack", "index", "map", "manifest"])
def test_damage_is_named_never_restored_and_mended_by_the_next_backup(
    place: Damaged, kind: str, harm: Harm
) -> None:
    place.renew()
    harm(place.files(kind))
    code, found = place.check()
    if (kind, harm) == ("manifest", remove):
        assert code == 0  # a restore point without a manifest is none: as if it had been deleted
        assert found["restore_points"] == 1
    else:
        assert (code, found["good"]) == (5, False)
        named = {damage["restore_point"] for damage in found["damages"]}
        assert named
        assert named <= {place.old, place.new}
        if kind in {"pack", "index"}:
            assert all(d["disk_key"] == DISK and d["length"] > 0 for d in found["damages"] if d["disk_key"])
    for point, content in place.contents.items():
        if (kind, harm, point) != ("manifest", remove, place.old):
            assert place.restored(point) in (content, None)
    made = place.back_up()
    assert place.restored(made["restore_point"]) == place.content()
    assert place.vbm.json("restore-point", "verify", made["restore_point"])["good"] is True
