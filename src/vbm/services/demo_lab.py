"""The demo's other side: a lab in a child process, a guest that never stops writing, and the lab's own files.

What a disk held when it was frozen is taken from the files of the lab's datastore by ``cp``, so that it
owes nothing to the code that is being shown.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from vbm.cancel import CancelToken
from vbm.errors import VbmError
from vbm.lab import control

_STOP_SECONDS: Final = 10
_LOOK_SECONDS: Final = 0.05
_PIECE: Final = 4 << 20


class DemoLabError(VbmError):
    """The simulated vSphere did not start."""

    code = "demo-lab"


@dataclass(frozen=True, slots=True)
class LabAddress:
    """Where the lab answers and as whom one logs in."""

    host: str
    port: int
    username: str
    password: str
    thumbprint: str


class DemoLab:
    """``vbm lab serve`` as a child process. A context manager: leaving it ends the child."""

    def __init__(self, state: Path, preset: str) -> None:
        self.state = state
        self._preset = preset
        self._child: subprocess.Popen[str] | None = None
        self.address: LabAddress

    def __enter__(self) -> DemoLab:
        self.state.mkdir(parents=True, exist_ok=True)
        log = self.state / "serve.log"
        with log.open("wb") as errors:
            self._child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "vbm",
                    "lab",
                    "serve",
                    "--state",
                    str(self.state),
                    "--preset",
                    self._preset,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C at the terminal stops the demo first, which then ends the lab
            )
        assert self._child.stdout is not None  # noqa: S101 - asked for above
        line = self._child.stdout.readline()
        try:
            said = json.loads(line)
        except ValueError as error:
            self._end()
            reason = log.read_text(errors="replace").strip().splitlines()
            raise DemoLabError(
                "the simulated vSphere did not start" + (f": {reason[-1]}" if reason else ""),
                hint=f"its output is in {log}",
            ) from error
        self.address = LabAddress(**{name: said[name] for name in LabAddress.__dataclass_fields__})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        child = self._child
        if child is None:
            return
        child.terminate()
        try:
            child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()

    def day(self, vm: str, seed: int) -> dict[str, Any]:
        """A day of work in the guest's file system; answers what it did."""
        return control.day(self.state, vm, seed=seed)

    def files(self, vm: str, pattern: str) -> list[Path]:
        """Files of that VM on the lab's datastores, by name."""
        return sorted((self.state / "datastores").glob(f"*/{_literal(vm)}/{pattern}"))

    def copy_frozen(self, vm: str, to: Path) -> None:
        """Copy the VM's only base extent while a snapshot holds it frozen."""
        bases, deltas = self.files(vm, "*-flat.vmdk"), self.files(vm, "*-0000*.vmdk")
        if len(bases) != 1 or not deltas:
            raise DemoLabError(f"{vm} is not frozen by a snapshot: {[p.name for p in (*bases, *deltas)]}")
        copy_sparse(bases[0], to)

    def has_snapshot_files(self, vm: str) -> bool:
        """Whether a delta of a snapshot lies in the VM's folder."""
        return bool(self.files(vm, "*-0000*.vmdk"))


class BusyGuest:
    """Days of guest work one after another in a thread, from ``__enter__`` until ``__exit__``."""

    def __init__(self, lab: DemoLab, vm: str, first_seed: int) -> None:
        self._lab = lab
        self._vm = vm
        self._seed = first_seed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="busy guest", daemon=True)
        self.days: list[dict[str, Any]] = []
        self.failure: Exception | None = None

    def __enter__(self) -> BusyGuest:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self.failure is not None and error is None:
            raise self.failure

    def wait_for_a_day(self, cancel: CancelToken) -> None:
        """Return when one more day has ended than had when this was called."""
        wanted = len(self.days) + 1
        while len(self.days) < wanted and self.failure is None:
            cancel.wait(_LOOK_SECONDS)

    @property
    def bytes_written(self) -> int:
        """By all days that have ended."""
        return sum(int(day["bytes_written"]) for day in self.days)

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                self.days.append(self._lab.day(self._vm, self._seed + len(self.days)))
        except Exception as error:  # noqa: BLE001 - raised by the thread that waits
            self.failure = error


def copy_sparse(source: Path, to: Path) -> None:
    """Copy a file, holes kept, by the system's own ``cp``."""
    _run(["cp", "--sparse=always", "--reflink=auto", "--", str(source), str(to)])


def identical(one: Path, other: Path) -> bool:
    """Whether two files have the same length and bytes."""
    with one.open("rb") as a, other.open("rb") as b:
        if os.fstat(a.fileno()).st_size != os.fstat(b.fileno()).st_size:
            return False
        while True:
            left, right = a.read(_PIECE), b.read(_PIECE)
            if left != right:
                return False
            if not left:
                return True


def file_system_is_clean(image: Path) -> bool | None:
    """What ``e2fsck -fn`` says of the image; None where the program is not installed."""
    try:
        return subprocess.run(["e2fsck", "-fn", str(image)], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return None


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoLabError(f"{command[0]} failed: {done.stderr.strip()}")


def _literal(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
