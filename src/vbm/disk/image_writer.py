"""Image files by the name of their format."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vbm.disk.qcow2 import Qcow2Writer
from vbm.disk.raw import ImageWriter, RawWriter
from vbm.disk.vmdk.flat_writer import FlatVmdkWriter
from vbm.errors import InputError

FORMATS: Final = ("raw", "qcow2", "vmdk")


def open_image_writer(
    image_format: str, path: Path, capacity_bytes: int, *, overwrite: bool = False
) -> ImageWriter:
    """A writer of a new image. Raises InputError for another format, and where the path is taken."""
    if image_format == "raw":
        return RawWriter(path, capacity_bytes, overwrite=overwrite)
    if image_format == "qcow2":
        return Qcow2Writer(path, capacity_bytes, overwrite=overwrite)
    if image_format == "vmdk":
        return FlatVmdkWriter(path, capacity_bytes, overwrite=overwrite)
    raise InputError(f"no image format {image_format!r}", hint=f"one of {', '.join(FORMATS)}")
