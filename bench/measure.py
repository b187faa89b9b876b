"""One measured command: wall and CPU seconds and peak memory of the process and its children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
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


# Linux counts a parent's peak as its child's (the mark survives exec), so a small process stands between.
_BETWEEN = """
import json, os, subprocess, sys, time
begin = time.perf_counter()
child = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(child.pid, 0)
found = [time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]
os.write(int(sys.argv[1]), json.dumps(found).encode())
os._exit(os.waitstatus_to_exitcode(status) & 255)
"""


def run(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Measured:
    """Run to the end; a failure ends the bench with what the command said on standard error."""
    words = [str(word) for word in command]
    reading, writing = os.pipe()
    between = [sys.executable, "-S", "-E", "-c", _BETWEEN, str(writing), *words]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        surroundings = {**os.environ, **(environment or {})}
        surroundings.pop(
            "PYTHONDONTWRITEBYTECODE", None
        )  # an installed program is compiled once, not at each start
        done = subprocess.run(
            between, stdout=output, stderr=errors, env=surroundings, pass_fds=[writing], check=False
        )
        os.close(writing)
        with os.fdopen(reading) as figures:
            found = figures.read()
        said, complained = _text(output), _text(errors)
    if done.returncode:
        sys.exit(f"{' '.join(words)} exited with {done.returncode}:\n{said[-1000:]}\n{complained[-3000:]}")
    return Measured(*json.loads(found), output=said)


def until_on_disk(measured: Measured, output: Path) -> Measured:
    """The same with the time it takes until the file would survive a power loss, as this product's restores do."""
    flushed = run(["sync", output])
    return Measured(
        measured.wall_seconds + flushed.wall_seconds,
        measured.cpu_seconds + flushed.cpu_seconds,
        measured.peak_mib,
        measured.output,
    )


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
