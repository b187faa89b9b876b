"""One measured command: wall and CPU seconds and peak memory of the process and its children."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import IO


@dataclass(frozen=True)
class Measured:
    wall_seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str = ""

    def as_dict(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in asdict(self).items() if name != "output"}


def run(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Measured:
    """Run to the end; a failure ends the bench with what the command said on standard error."""
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        child = subprocess.Popen(
            words, stdout=output, stderr=errors, env={**os.environ, **(environment or {})}
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        said, complained = _text(output), _text(errors)
    if child.returncode:
        sys.exit(f"{' '.join(words)} exited with {child.returncode}:\n{said[-1000:]}\n{complained[-3000:]}")
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def middle(rounds: list[Measured]) -> Measured:
    """The medians of several rounds."""
    return Measured(
        median(r.wall_seconds for r in rounds),
        median(r.cpu_seconds for r in rounds),
        max(r.peak_mib for r in rounds),
    )


def tree_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def warm(*paths: Path) -> None:
    """Read the images once so that every contender finds them in the page cache."""
    for path in paths:
        with path.open("rb") as data:
            while data.read(1 << 24):
                pass
