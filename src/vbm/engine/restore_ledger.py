"""The ledger of half-made VMs of one home, as the one of snapshots: one file each in ``VBM_HOME/ledger/restores``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from vbm.engine.entry_files import EntryFiles
from vbm.engine.process import ProcessIdentity
from vbm.vsphere.making import HalfMade


class RestoreLedger:
    """Traces of restores by hand. Thread-safe."""

    def __init__(self, home: Path, process: ProcessIdentity | None = None) -> None:
        self._files = EntryFiles(home / "ledger" / "restores")
        self._process = process or ProcessIdentity.own()

    def save(self, half: HalfMade) -> None:
        self._files.hold(half.mark)
        self._write(half, released=False)

    def forget(self, mark: str) -> None:
        self._files.remove(mark)

    def done(self, half: HalfMade) -> None:
        self.forget(half.mark)

    def release(self, mark: str) -> None:
        document = self._files.read(mark)
        if document is not None:
            self._files.write(mark, document | {"released": True})
        self._files.let_go(mark)

    def own(self) -> list[HalfMade]:
        """A restore by hand that died is not gone on with: the next command removes what it left."""
        return []

    def leftovers(self, vcenter: str, vcenter_uuid: str = "") -> list[HalfMade]:
        """Of that vCenter, by name or by its own id, whose restore is over or whose process is dead."""
        found = []
        for document in self._files.all():
            half = _half(document)
            if half is None or not (
                half.vcenter == vcenter or (vcenter_uuid and half.vcenter_uuid == vcenter_uuid)
            ):
                continue
            if self._is_left(half.mark, document):
                found.append(half)
        return found

    def claim(self, half: HalfMade) -> bool:
        """Make a leftover this process's own; False where somebody else was first, or it is gone."""
        with self._files.exclusive():
            document = self._files.read(half.mark)
            if document is None or not self._is_left(half.mark, document):
                return False
            self._files.hold(half.mark)
            self._write(half, released=False)
            return True

    def _is_left(self, mark: str, document: dict[str, object]) -> bool:
        if document.get("released"):
            return True
        process = document.get("process")
        try:
            running = ProcessIdentity(**process).is_running()  # type: ignore[arg-type]
        except TypeError:
            running = False
        return not running and not self._files.is_held(mark)

    def _write(self, half: HalfMade, *, released: bool) -> None:
        document = {**half.to_document(), "process": asdict(self._process), "released": released}
        self._files.write(half.mark, document)


def _half(document: dict[str, object]) -> HalfMade | None:
    try:
        return HalfMade.from_document(document)
    except (KeyError, TypeError):
        return None
