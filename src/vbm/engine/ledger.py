"""Every VMware snapshot of ours is written down here before it is made, and crossed out once it is surely gone.

One file a snapshot in ``VBM_HOME/ledger``, flushed to disk. What a killed process leaves behind is found by the next
command: an entry whose process is dead is a *leftover*. A run holds a lock on its entry as long as it lives, so that
processes in other containers on the same home see it too; the lock ends with the process, however that dies.

Thread-safe; several processes may use one ledger. Snapshots of live processes are never touched.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vbm.engine.entry_files import EntryFiles
from vbm.engine.process import ProcessIdentity
from vbm.ids import MoRef, RunId, VmUuid


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
        self._files = EntryFiles(home / "ledger")
        self.process = process or ProcessIdentity.own()

    def record(self, entry: LedgerEntry) -> None:
        """Durable when it returns: call it before the snapshot is created."""
        self._files.hold(entry.snapshot)
        self._write(replace(entry, process=self.process, released=False))

    def forget(self, snapshot: str) -> None:
        """The snapshot is surely gone, or was never made."""
        self._files.remove(snapshot)

    def release(self, snapshot: str) -> None:
        """This run is over and could not remove its snapshot: whoever comes next shall."""
        entry = self.find(snapshot)
        if entry is not None:
            self._write(replace(entry, released=True))
        self._files.let_go(snapshot)

    def find(self, snapshot: str) -> LedgerEntry | None:
        return _entry(self._files.read(snapshot))

    def entries(self) -> list[LedgerEntry]:
        """All, oldest first. A file that is no entry is passed over: it can't have been written by us whole."""
        found = [entry for document in self._files.all() if (entry := _entry(document)) is not None]
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
        return not entry.process.is_running() and not self._files.is_held(entry.snapshot)

    def claim(self, entry: LedgerEntry) -> LedgerEntry | None:
        """Make a leftover this process's own; None where somebody else was first or it is no longer there."""
        with self._files.exclusive():
            current = self.find(entry.snapshot)
            if current is None or not self.is_leftover(current):
                return None
            claimed = replace(current, process=self.process, released=False)
            self._files.hold(entry.snapshot)
            self._write(claimed)
            return claimed

    def _write(self, entry: LedgerEntry) -> None:
        self._files.write(entry.snapshot, asdict(entry))


def _entry(document: dict[str, Any] | None) -> LedgerEntry | None:
    if document is None:
        return None
    try:
        return LedgerEntry(**document | {"process": ProcessIdentity(**document["process"])})
    except (TypeError, KeyError):
        return None
