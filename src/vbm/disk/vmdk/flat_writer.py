"""Writing of a flat VMDK: a descriptor, and a raw file beside it."""

from __future__ import annotations

from pathlib import Path

from vbm.disk.raw import Data, ImageWriteError, RawWriter
from vbm.disk.vmdk.descriptor import flat_descriptor
from vbm.errors import InputError


class FlatVmdkWriter:
    """An ImageWriter of ``x.vmdk`` and ``x-flat.vmdk``; the descriptor is written last. Thread-safe."""

    def __init__(
        self,
        path: Path,
        capacity_bytes: int,
        *,
        create_type: str = "monolithicFlat",
        overwrite: bool = False,
    ) -> None:
        self._path = path
        flat = path.with_name(f"{path.stem}-flat.vmdk")
        descriptor = flat_descriptor(capacity_bytes, flat.name, create_type=create_type)
        self._text = descriptor.render()
        if path.exists() and not overwrite:
            raise InputError(f"{path} exists already", hint="name another file, or delete this one")
        self._raw = RawWriter(flat, capacity_bytes, overwrite=overwrite)
        self._closed = False
        self.capacity_bytes = capacity_bytes

    def write(self, offset: int, data: Data) -> None:
        self._raw.write(offset, data)

    def close(self) -> None:
        if self._closed:
            return
        self._raw.close()
        try:
            self._path.write_text(self._text, encoding="utf-8")
        except OSError as error:
            raise ImageWriteError(f"can't write {self._path}: {error}") from error
        self._closed = True

    def discard(self) -> None:
        if not self._closed:
            self._raw.discard()
            self._closed = True


def write_flat_vmdk(path: Path, capacity_bytes: int, *, overwrite: bool = False) -> FlatVmdkWriter:
    """A writer for people's own machines: Workstation, Fusion, qemu and VirtualBox read its image."""
    return FlatVmdkWriter(path, capacity_bytes, overwrite=overwrite)
