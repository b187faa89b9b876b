"""Progress on standard error: bars with rate and time left on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from vbm.cli.output import clean, err, say
from vbm.clock import Clock, SystemClock
from vbm.ids import DiskKey
from vbm.progress import Progress as Listener
from vbm.progress import Silent
from vbm.units import format_duration, format_size

_EVERY_SECONDS: Final = 5.0
PHASES: Final = {
    "connecting": "Connecting",
    "snapshot": "Snapshot",
    "downloading": "Downloading",
    "compressing": "Compressing",
    "committing": "Committing",
    "cleanup": "Cleaning up",
    "done": "Done",
}
VERIFY_PHASES: Final = PHASES | {"downloading": "Verifying"}
RESTORE_PHASES: Final = PHASES | {"downloading": "Restoring", "committing": "Finishing"}


@contextmanager
def shown(words: Mapping[str, str] = PHASES) -> Iterator[Listener]:
    """A listener for one run, in the form that suits standard error. ``words``: what phases are called."""
    if err().is_terminal:
        with Bars(words) as bars:
            yield bars
    else:
        with Lines(words) as lines:
            yield lines


class Remarks(Silent):
    """Shows remarks and warnings of work that is too short for a bar."""

    def note(self, message: str) -> None:
        say(clean(message), style="dim")

    def warn(self, message: str) -> None:
        say(f"Warning: {clean(message)}", style="yellow")


class Bars:
    """One bar for each disk under a line that names the phase. Thread-safe, as rich's bars are."""

    def __init__(self, words: Mapping[str, str] = PHASES) -> None:
        self._words = words
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f} %", markup=False),
            TextColumn("{task.fields[amount]}", markup=False, justify="right"),
            TimeRemainingColumn(compact=True),
            console=err(),
            expand=True,
            transient=False,
        )
        self._tasks: dict[DiskKey, TaskID] = {}
        self._phase = ""
        self._lock = threading.Lock()

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._progress.stop()

    def phase(self, name: str) -> None:
        if name not in {self._phase, "done"}:
            self._phase = name
            self._progress.console.print(Text(self._words.get(name, name), style="bold"))

    def disk(self, key: DiskKey, label: str, total_bytes: int) -> None:
        with self._lock:
            task = self._tasks.get(key)
            if task is None:
                self._tasks[key] = self._progress.add_task(clean(label), total=total_bytes, amount="")
            else:
                self._progress.update(task, total=total_bytes, description=clean(label))
        if not total_bytes:  # a bar of nothing would stay at 0 %
            self._progress.update(self._tasks[key], total=1, completed=1, amount="nothing to read")

    def advance(self, key: DiskKey, size_bytes: int) -> None:
        with self._lock:
            task = self._tasks.get(key)
        if task is not None and size_bytes:  # zeros and the like: nothing was read
            self._progress.advance(task, size_bytes)
            self._progress.update(task, amount=self._amount(task))

    def note(self, message: str) -> None:
        self._progress.console.print(Text(f"  {clean(message)}", style="dim"), soft_wrap=True)

    def warn(self, message: str) -> None:
        self._progress.console.print(Text(f"Warning: {clean(message)}", style="yellow"), soft_wrap=True)

    def _amount(self, task: TaskID) -> str:
        state = self._progress._tasks[task]
        speed = f" at {format_size(state.speed)}/s" if state.speed else ""
        return f"{format_size(state.completed)} of {format_size(state.total or 0)}{speed}"


class Lines:
    """Plain lines: each phase, each remark, and every few seconds where all disks together stand."""

    def __init__(self, words: Mapping[str, str] = PHASES, clock: Clock | None = None) -> None:
        self._words = words
        self._clock = clock or SystemClock()
        self._totals: dict[DiskKey, int] = {}
        self._done = 0
        self._said = -1
        self._phase = ""
        self._began = self._clock.monotonic()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._report, name="progress lines", daemon=True)

    def __enter__(self) -> Lines:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def phase(self, name: str) -> None:
        if name not in {self._phase, "done"}:
            self._phase = name
            say(self._words.get(name, name))

    def disk(self, key: DiskKey, label: str, total_bytes: int) -> None:  # noqa: ARG002
        with self._lock:
            if not self._totals:
                self._began = self._clock.monotonic()
            self._totals[key] = total_bytes

    def advance(self, key: DiskKey, size_bytes: int) -> None:  # noqa: ARG002
        with self._lock:
            self._done += size_bytes

    def note(self, message: str) -> None:
        say(f"  {clean(message)}")

    def warn(self, message: str) -> None:
        say(f"Warning: {clean(message)}")

    def _report(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            line = self.line()
            if line:
                say(line)

    def line(self) -> str:
        """``  1.2 GiB of 4 GiB (30 %) at 120 MiB/s, 23 s left``; empty where nothing has moved."""
        with self._lock:
            total, done = sum(self._totals.values()), self._done
            if not total or done == self._said:
                return ""
            self._said = done
            seconds = self._clock.monotonic() - self._began
        rate = done / seconds if seconds > 0 else 0.0
        left = f", {format_duration((total - done) / rate)} left" if rate and done < total else ""
        share = f"{100 * done // total} %"
        return f"  {format_size(done)} of {format_size(total)} ({share}) at {format_size(rate)}/s{left}"
