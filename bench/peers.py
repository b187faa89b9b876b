"""restic and borg, driven the way their users do: encrypted repositories, raw images, one command a backup."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from measure import Measured, run, until_on_disk

RESTIC_VERSION = "v0.19.1"
BORG_VERSION = "1.4.5"
CACHE = Path(__file__).resolve().parents[1] / ".cache/bench"


def install_restic() -> Path | None:
    """restic built from the Go module proxy, else the system's, else None."""
    program = CACHE / "restic"
    if not program.exists() and shutil.which("go"):
        work = CACHE / "restic-build"
        work.mkdir(parents=True, exist_ok=True)
        (work / "go.mod").write_text(
            f"module bench\ngo 1.24\nrequire github.com/restic/restic {RESTIC_VERSION}\n"
        )
        build = ["go", "build", "-mod=mod", "-o", str(program), "github.com/restic/restic/cmd/restic"]
        environment = {**os.environ, "GONOSUMDB": "github.com/restic/restic"}
        subprocess.run(build, cwd=work, env=environment, capture_output=True, check=False)
    if program.exists():
        return program
    system = shutil.which("restic")
    return Path(system) if system else None


def install_borg() -> Path | None:
    """borg from PyPI in an environment of its own (it compiles), else the system's, else None."""
    program = CACHE / "borg/bin/borg"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", CACHE / "borg"], check=True)
        install = [CACHE / "borg/bin/pip", "install", "-q", f"borgbackup=={BORG_VERSION}"]
        subprocess.run(install, capture_output=True, check=False)
    if program.exists():
        return program
    system = shutil.which("borg")
    return Path(system) if system else None


@dataclass
class Restic:
    """Defaults: content-defined chunks of about 1 MiB, zstd by default, AES-256."""

    program: Path
    repository: Path
    images: Path
    snapshots: dict[str, str] = field(default_factory=dict)
    name: str = "restic"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "RESTIC_PASSWORD": "bench",
            "RESTIC_REPOSITORY": str(self.repository),
            "RESTIC_CACHE_DIR": str(self.repository.with_suffix(".cache")),
        }

    def version(self) -> str:
        return subprocess.run(
            [self.program, "version"], capture_output=True, text=True, check=True
        ).stdout.split()[1]

    def create(self) -> None:
        run([self.program, "init"], self.environment)

    def backup(self, image: Path) -> Measured:
        """A raw image is read whole and cut into content-defined chunks."""
        return run([self.program, "backup", "--quiet", "--tag", image.stem, image], self.environment)

    def restore(self, image: Path, output: Path) -> Measured:
        target = output.with_suffix(".d")
        words = ["restore", "latest", "--tag", image.stem, "--sparse", "--target", target]
        measured = run([self.program, *words], self.environment)
        (target / str(image.absolute()).lstrip("/")).rename(output)
        shutil.rmtree(target)
        return until_on_disk(measured, output)

    def verify(self) -> Measured:
        return run([self.program, "check", "--read-data"], self.environment)


@dataclass
class Borg:
    """zstd level 3 and fixed chunks of 1 MiB: what suits disk images."""

    program: Path
    repository: Path
    images: Path
    name: str = "borg"

    @property
    def environment(self) -> dict[str, str]:
        base = self.repository.with_suffix(".base")
        return {
            "BORG_PASSPHRASE": "bench",
            "BORG_REPO": str(self.repository),
            "BORG_BASE_DIR": str(base),
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }

    def version(self) -> str:
        return subprocess.run(
            [self.program, "--version"], capture_output=True, text=True, check=True
        ).stdout.split()[1]

    def create(self) -> None:
        run([self.program, "init", "--encryption", "repokey"], self.environment)

    def backup(self, image: Path) -> Measured:
        words = [
            "create",
            "--compression",
            "zstd,3",
            "--chunker-params",
            "fixed,1048576",
            f"::{image.stem}",
            image,
        ]
        return run([self.program, *words], self.environment)

    def restore(self, image: Path, output: Path) -> Measured:
        target = output.with_suffix(".d")
        target.mkdir()
        script = f'cd "{target}" && exec "{self.program}" extract --sparse ::{image.stem}'
        measured = run(["sh", "-c", script], self.environment)
        (target / str(image.absolute()).lstrip("/")).rename(output)
        shutil.rmtree(target)
        return until_on_disk(measured, output)

    def verify(self) -> Measured:
        return run([self.program, "check", "--verify-data"], self.environment)
