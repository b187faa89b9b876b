"""This product in the bench: raw images through the engine, everything else through the command line."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import vbm
from measure import Measured, run
from vbm.allocator import keep_buffers
from vbm.disk.raw import RawDisk
from vbm.engine.image import ImageOptions, backup_image
from vbm.objectstore.registry import open_store
from vbm.repository.keys import Passphrase
from vbm.repository.repository import Repository

COMMAND = Path(sys.executable).with_name("vbm")
PASSPHRASE = "bench"


@dataclass
class Vbm:
    """zstd level 3, chunks of the default size, AES-256-GCM."""

    repository: Path
    points: dict[str, str] = field(default_factory=dict)
    name: str = "vbm"

    @property
    def url(self) -> str:
        return f"file://{self.repository}"

    @property
    def environment(self) -> dict[str, str]:
        return {"VBM_BENCH_PASSPHRASE": PASSPHRASE, "VBM_HOME": str(self.repository.with_suffix(".home"))}

    @property
    def _access(self) -> list[str]:
        return ["--repository-url", self.url, "--passphrase-env", "VBM_BENCH_PASSPHRASE"]

    def version(self) -> str:
        return vbm.__version__

    def create(self) -> None:
        Repository.create(open_store(self.url), Passphrase(PASSPHRASE)).close()

    def backup(self, image: Path) -> Measured:
        """The image read whole, as if nothing were known of it."""
        measured = run([sys.executable, __file__, "backup", self.url, image])
        self.points[image.stem] = json.loads(measured.output)["restore_point"]
        return measured

    def restore(self, image: Path, output: Path) -> Measured:
        words = ["restore", "disk", self.points[image.stem], "--disk", "0", "--output", output]
        return run([COMMAND, *words, *self._access], self.environment)

    def verify(self) -> Measured:
        return run([COMMAND, "repository", "check", "--read-data", *self._access], self.environment)


def backup(url: str, image: str) -> None:
    """The child process that is measured."""
    keep_buffers()
    with Repository.open(open_store(url), Passphrase(PASSPHRASE)) as repository:
        result = backup_image(RawDisk(Path(image)), repository, ImageOptions(name=Path(image).stem))
    print(json.dumps({"restore_point": result.restore_point}))


if __name__ == "__main__":
    backup(*sys.argv[2:])
