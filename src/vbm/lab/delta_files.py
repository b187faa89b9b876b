"""Delta extents in the on-disk formats of vSphere, as layer files."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vbm.disk.vmdk.grain_writer import GrainWriter
from vbm.disk.vmdk.grains import Where
from vbm.disk.vmdk.se_sparse import SeSparseWriter
from vbm.disk.vmdk.sparse import CowdWriter
from vbm.lab.layer_files import DATA, PARENT, ZERO, Data, LayerFile, Piece
from vbm.lab.model import SE_SPARSE, VMFS_SPARSE, LabFault
from vbm.units import GIB

_FORMATS: Final[dict[str, type[GrainWriter]]] = {VMFS_SPARSE: CowdWriter, SE_SPARSE: SeSparseWriter}
_STEP_BYTES: Final = 16 * GIB  # of directory looked at together
_WHERE: Final = {Where.PARENT: PARENT, Where.ZERO: ZERO, Where.DATA: DATA}


def create_delta(kind: str, path: Path, capacity_bytes: int) -> None:
    """An empty extent. Raises LabFault FileAlreadyExists."""
    if path.exists():
        raise LabFault("FileAlreadyExists", f"{path.name} exists", properties={"file": path.name})
    _FORMATS[kind](path, capacity_bytes).close()


def open_delta(kind: str, path: Path, capacity_bytes: int) -> LayerFile:
    """Raises FileNotFoundError."""
    if not path.exists():
        raise FileNotFoundError(path)
    return DeltaFile(_FORMATS[kind](path, capacity_bytes))


class DeltaFile:
    """A LayerFile over one writer. The chain completes parts of grains, so whole grains are written."""

    def __init__(self, extent: GrainWriter) -> None:
        self._extent = extent
        self.grain_bytes = extent.grain_bytes
        self.capacity_bytes = extent.capacity_bytes
        weakref.finalize(self, extent.close)

    def locate(self, offset: int, length: int) -> list[Piece]:
        return [(part.start, part.length, _WHERE[part.where]) for part in self._extent.map(offset, length)]

    def readinto(self, offset: int, buffer: memoryview) -> None:
        for part in self._extent.map(offset, len(buffer)):
            if part.where is Where.DATA:
                at = part.start - offset
                self._extent.readinto_at(part.file_offset, buffer[at : at + part.length])

    def write(self, offset: int, data: Data) -> None:
        self._extent.write(offset, data)

    def zero(self, offset: int, length: int) -> None:
        self._extent.zero(offset, length)

    def present(self) -> Iterator[Piece]:
        for start in range(0, self.capacity_bytes, _STEP_BYTES):
            for piece in self.locate(start, min(_STEP_BYTES, self.capacity_bytes - start)):
                if piece[2] != PARENT:
                    yield piece
