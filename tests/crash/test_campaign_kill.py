"""kill -9 of the command ``vbm backup`` at random moments, against a lab in another process.

After each kill the next command that works on the vCenter leaves no snapshot of ours, the repository verifies, an
interrupted read goes on where it was, and a new backup restores to exactly what the guest had.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fixtures_campaign import MIB, ServedLab, Vbm, noise_image
from vbm.lab import control

SIZE = 32 * MIB
WRITTEN = 16 * MIB  # by the guest before each backup
LATE = 4 * MIB  # by the guest while it is backed up: the removal has that much to consolidate
RATE = 6 * MIB  # of the reading, so that it lasts
SLACK = 2 * MIB  # chunks at the edges of what was written
SPANS = {  # how long after a phase's beginning the kill comes at the latest, in seconds
    "Connecting": 0.3,
    "Snapshot": 0.3,
    "Downloading": 2.2,
    "Compressing": 0.02,
    "Committing": 0.05,
    "Cleaning up": 0.5,
}
LONG = [
    *(["Connecting"] * 1 + ["Snapshot"] * 2 + ["Downloading"] * 9),
    *(["Compressing"] * 1 + ["Committing"] * 3 + ["Cleaning up"] * 4),
]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one moment came to."""

    phase: str
    after_seconds: float
    died: bool  # else the backup was quicker than the kill
    snapshots: int  # ours, when it was dead
    checkpoint: bool
    committed: bool  # the restore point of the killed run is whole
    next_command: str
    resumed: bool
    bytes_read: int  # by the command after it, of ``bytes_due``
    bytes_due: int


class Campaign:
    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.source = folder, random.Random(seed)
        self.lab = ServedLab(folder / "lab")
        self.vbm = Vbm(folder / "home", self.lab.password)
        self.figures: list[Figures] = []

    def prepare(self) -> None:
        image = noise_image(self.folder / "disk.raw", SIZE)
        control.create_vm(self.lab.state, "web01", [image], power_on=True)
        self.vbm.add_vcenter(self.lab.host, self.lab.port, self.lab.username, self.lab.thumbprint)
        self.vbm.create_repository(
            self.folder / "repo", "--passphrase-env", "REPO_PW", "--chunk-size", "256KiB"
        )
        self.lab.fault(f"RemoveSnapshot_Task rate={RATE}")

    # -- one moment

    def moment(self, phase: str, next_command: str) -> None:
        points = self._points()
        due = WRITTEN + SLACK if points else SIZE
        self.lab.write("web01", self.source.randrange(0, SIZE - WRITTEN), self.source.randbytes(WRITTEN))
        frozen = self.lab.dump("web01")
        after = self.source.uniform(0, SPANS[phase])
        died = self._killed(phase, after)
        left = self.lab.snapshots().get("web01", [])
        checkpoint = any(f.stat().st_size for f in (self.vbm.home / "runs").glob("*/disk-*.done"))
        committed = len(self._points()) > len(points)
        self.lab.write("web01", self.source.randrange(0, SIZE - MIB), self.source.randbytes(MIB))
        resumed, read = False, 0
        if next_command == "backup":
            made = self._backup()
            resumed, read = made["resumed"], made["bytes_read"]
            if resumed:
                assert read < due
                assert self._restored(made) == frozen
            else:
                assert self._restored(made) == self.lab.dump("web01")
            assert resumed or not (checkpoint and left and not committed)
        else:
            assert self.vbm.json("vm", "list")[0]["name"] == "web01"
        self.figures.append(
            Figures(phase, after, died, len(left), checkpoint, committed, next_command, resumed, read, due)
        )
        self._all_is_well()

    def _killed(self, phase: str, after: float) -> bool:
        """Whether it was still there to be killed, ``after`` so many seconds in that phase."""
        late = self.source.randbytes(LATE)
        child = self.vbm.start(
            *("backup", "web01", "--repository", "main"),
            *("--limit", str(RATE), "--checkpoint-seconds", "0.2"),
        )
        with child:
            assert child.stderr is not None
            said = []
            for line in child.stderr:
                said.append(line)
                if line.startswith("Downloading"):
                    self.lab.write("web01", self.source.randrange(0, SIZE - LATE), late)
                if line.startswith(phase):
                    break
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(after)
            child.kill()
            said += child.stderr
        assert child.returncode in {0, -9}, "".join(said)  # nothing but the kill may end it early
        return child.returncode == -9

    def _all_is_well(self) -> None:
        assert self.lab.snapshots() == {}
        assert not list((self.vbm.home / "ledger").glob("*.json"))
        self.vbm.ok("repository", "check", "main", "--read-data")
        made = self._backup()
        assert made["snapshot_removed"]
        assert not made["resumed"]
        assert self._restored(made) == self.lab.dump("web01")
        assert self.lab.snapshots() == {}

    def _backup(self) -> Any:
        return self.vbm.json("backup", "web01", "--repository", "main")

    def _points(self) -> list[Any]:
        return list(self.vbm.json("restore-point", "list"))

    def _restored(self, made: Any) -> bytes:
        return self.vbm.restore(made["restore_point"], self.folder / "restored.raw")

    # -- the whole

    def report(self) -> str:
        lines = ["phase        after  died  snapshots  checkpoint  committed  next     resumed  read of due"]
        lines += [
            f"{f.phase:<12} {f.after_seconds:5.2f}  {f.died!s:5} {f.snapshots:9}  {f.checkpoint!s:10}  "
            f"{f.committed!s:9}  {f.next_command:<8} {f.resumed!s:7}  "
            f"{f.bytes_read / MIB:.1f} of {f.bytes_due / MIB:.0f} MiB"
            for f in self.figures
        ]
        return "\n".join(lines)


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    made = Campaign(tmp_path, seed=20)
    try:
        made.prepare()
        yield made
    finally:
        sys.stdout.write(made.report() + "\n")
        made.lab.close()


def test_four_random_moments(campaign: Campaign) -> None:
    campaign.moment("Downloading", "vm list")
    campaign.moment("Downloading", "backup")
    campaign.moment("Committing", "backup")
    campaign.moment("Cleaning up", "vm list")
    assert sum(f.died for f in campaign.figures) >= 3


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_twenty_random_moments(campaign: Campaign) -> None:
    phases = campaign.source.sample(LONG, len(LONG))
    for number, phase in enumerate(phases):
        campaign.moment(phase, "backup" if number % 2 else "vm list")
    assert len(campaign.figures) == 20
    assert sum(f.died for f in campaign.figures) >= 15
    assert any(f.resumed for f in campaign.figures)
