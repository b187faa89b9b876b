"""One measured command: wall and CPU seconds and peak memory of the process and its children."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Measured:
    wall_seconds: float
    cpu_seconds: float
    peak_mib: float

    def as_dict(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in asdict(self).items()}


def run(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Measured:
    """Run to the end; a failure ends the bench with what the command printed."""
    log = Path(os.environ.get("TMPDIR", "/tmp")) / f"vbm-bench-{os.getpid()}.log"
    with log.open("w+b") as output:
        begin = time.perf_counter()
        child = subprocess.Popen(
            [str(word) for word in command],
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_text(errors="replace")
    log.unlink()
    if child.returncode not in (0,):
        sys.exit(f"{' '.join(map(str, command))} exited with {child.returncode}:\n{text[-3000:]}")
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


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


Step = Callable[[], Measured]
