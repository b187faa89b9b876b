"""Every VMware snapshot of ours is written down here before it is made, and crossed out once it is surely gone.

One file a snapshot in ``VBM_HOME/ledger``, flushed to disk. What a killed process leaves behind is found by the next
command: an entry whose process is dead is a *leftover*. A run holds a lock on its entry as long as it lives, so that
processes in other containers on the same home see it too; the lock ends with the process, however that dies.

Thread-safe; several processes may use one ledger. Snapshots of live processes are never touched.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from vbm.engine.durable_file import remove_file, replace_file
from vbm.engine.process import ProcessIdentity
from vbm.errors import InputError
from vbm.ids import MoRef, RunId, VmUuid

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One snapshot that exists, may exist or is about to. ``released``: its run is over, only removal is left."""

    snapshot: str  # its name, unique for ever
    vcenter: str  # as the administrator calls it
    vcenter_uuid: str
    vm: MoRef
    vm_uuid: VmUuid
    vm_name: str
    run_id: RunId
    repository: str  # its id
    created: str  # RFC 3339
    process: ProcessIdentity
    released: bool = False


class Ledger:
    """The ledger of one home. ``process`` is who writes: this process unless a test says otherwise."""

    def __init__(self, home: Path, process: ProcessIdentity | None = None) -> None:
        self._folder = home / "ledger"
        self.process = process or ProcessIdentity.own()
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    def record(self, entry: LedgerEntry) -> None:
        """Durable when it returns: call it before the snapshot is created."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._hold(entry.snapshot)
        self._write(replace(entry, process=self.process, released=False))

    def forget(self, snapshot: str) -> None:
        """The snapshot is surely gone, or was never made."""
        remove_file(self._file(snapshot))
        self._let_go(snapshot, remove=True)

    def release(self, snapshot: str) -> None:
        """This run is over and could not remove its snapshot: whoever comes next shall."""
        entry = self.find(snapshot)
        if entry is not None:
            self._write(replace(entry, released=True))
        self._let_go(snapshot)

    def find(self, snapshot: str) -> LedgerEntry | None:
        return _read(self._file(snapshot))

    def entries(self) -> list[LedgerEntry]:
        """All, oldest first. A file that is no entry is passed over: it can't have been written by us whole."""
        files = sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []
        found = [entry for file in files if (entry := _read(file)) is not None]
        return sorted(found, key=lambda entry: (entry.created, entry.snapshot))

    def leftovers(self, vcenter: str, vcenter_uuid: str = "") -> list[LedgerEntry]:
        """Entries of that vCenter, by name or by its own id, whose run is over or whose process is dead."""
        return [
            entry
            for entry in self.entries()
            if (entry.vcenter == vcenter or (vcenter_uuid and entry.vcenter_uuid == vcenter_uuid))
            and self.is_leftover(entry)
        ]

    def is_leftover(self, entry: LedgerEntry) -> bool:
        if entry.released:
            return True
        if entry.snapshot in self._held or entry.process.is_running():
            return False
        return not self._is_locked(entry.snapshot)

    def claim(self, entry: LedgerEntry) -> LedgerEntry | None:
        """Make a leftover this process's own; None where somebody else was first or it is no longer there."""
        with self._exclusive():
            current = self.find(entry.snapshot)
            if current is None or not self.is_leftover(current):
                return None
            claimed = replace(current, process=self.process, released=False)
            self._hold(entry.snapshot)
            self._write(claimed)
            return claimed

    def _file(self, snapshot: str) -> Path:
        if not snapshot or "/" in snapshot or snapshot.startswith("."):
            raise InputError(f"not a snapshot name of ours: {snapshot!r}")
        return self._folder / f"{snapshot}.json"

    def _write(self, entry: LedgerEntry) -> None:
        document = {"format": _FORMAT, **asdict(entry)}
        replace_file(self._file(entry.snapshot), json.dumps(document, indent=1).encode())

    def _hold(self, snapshot: str) -> None:
        with self._lock:
            if snapshot not in self._held:
                descriptor = _open_lock(self._folder / f"{snapshot}.lock")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._held[snapshot] = descriptor

    def _let_go(self, snapshot: str, *, remove: bool = False) -> None:
        with self._lock:
            descriptor = self._held.pop(snapshot, -1)
            if remove:
                (self._folder / f"{snapshot}.lock").unlink(missing_ok=True)
            if descriptor >= 0:
                os.close(descriptor)

    def _is_locked(self, snapshot: str) -> bool:
        file = self._folder / f"{snapshot}.lock"
        if not file.exists():
            return False
        descriptor = _open_lock(file)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One process at a time decides who owns a leftover."""
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = _open_lock(self._folder / ".claims")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _read(file: Path) -> LedgerEntry | None:
    try:
        document: dict[str, Any] = json.loads(file.read_bytes())
        del document["format"]
        document["process"] = ProcessIdentity(**document["process"])
        return LedgerEntry(**document)
    except (OSError, ValueError, TypeError, KeyError):
        return None
