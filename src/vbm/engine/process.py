"""Which process wrote something, and whether it still runs: pid, start time and boot together name one process.

Source: proc(5), ``/proc/<pid>/stat`` field 22 and ``/proc/sys/kernel/random/boot_id``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """``started`` is in clock ticks since boot: a pid that is used again has another one."""

    pid: int
    started: int
    boot_id: str

    @classmethod
    def own(cls) -> ProcessIdentity:
        return cls(os.getpid(), _started(os.getpid()) or 0, _boot_id())

    def is_running(self) -> bool:
        """Whether that very process runs, on this machine and since this boot."""
        return self.boot_id == _boot_id() and _started(self.pid) == self.started


def _started(pid: int) -> int | None:
    """None where there is no such process, or only its unread exit status."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = text[text.rindex(")") + 2 :].split()  # the name before may hold spaces and brackets
    return None if state in "ZX" else int(fields[18])


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
