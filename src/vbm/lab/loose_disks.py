"""Virtual disks that belong to no machine: a descriptor and its extent in a datastore's folder."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from vbm.disk.vmdk.descriptor import Descriptor, flat_descriptor
from vbm.lab.devices import new_disk_uuid
from vbm.lab.errors import refusal
from vbm.lab.layer_files import copy_sparse
from vbm.lab.vmodl import vim


def create(path: Path, capacity_bytes: int, *, thin: bool = True) -> None:
    """An empty disk at the descriptor's path."""
    extent = path.with_name(path.stem + "-flat.vmdk")
    if extent.exists():
        raise refusal("FileAlreadyExists", f"{extent.name} exists already", file=extent.name)
    with extent.open("xb") as file:
        file.truncate(capacity_bytes)
    path.write_text(flat_descriptor(capacity_bytes, extent.name, uuid=new_disk_uuid(), thin=thin).render())


def read(path: Path) -> Descriptor:
    """The descriptor. Raises NotSupported for a file that is none."""
    with path.open("rb") as file:
        head = file.read(64 << 10)
    if not head.startswith(b"# Disk DescriptorFile"):
        raise refusal("NotSupported", f"{path.name} is not a virtual disk")
    return Descriptor.parse(head)


def extent_of(path: Path) -> Path:
    return path.with_name(read(path).extents[0].file_name)


def delete(path: Path) -> None:
    extent_of(path).unlink(missing_ok=True)
    path.unlink()


def copy(source: Path, target: Path, *, thin: bool | None = None) -> None:
    """A disk without parents is copied whole, holes kept; one with parents can't be."""
    descriptor = read(source)
    if descriptor.has_parent:
        raise refusal("NotSupported", f"{source.name} has a parent disk")
    extent = target.with_name(target.stem + "-flat.vmdk")
    copy_file(extent_of(source), extent)
    was_thin = descriptor.ddb.get("thinProvisioned") == "1"
    made = flat_descriptor(
        descriptor.capacity_bytes, extent.name, uuid=new_disk_uuid(), thin=was_thin if thin is None else thin
    )
    target.write_text(made.render())


def move(source: Path, target: Path) -> None:
    descriptor = read(source)
    extent = target.with_name(target.stem + "-flat.vmdk")
    shutil.move(extent_of(source), extent)
    line = replace(descriptor.extents[0], file_name=extent.name)
    target.write_text(replace(descriptor, extents=(line, *descriptor.extents[1:])).render())
    source.unlink()


def extend(path: Path, capacity_bytes: int) -> None:
    descriptor = read(path)
    if capacity_bytes < descriptor.capacity_bytes:
        raise refusal("InvalidArgument", "a disk can't shrink", invalidProperty="newCapacityKb")
    os.truncate(extent_of(path), capacity_bytes)
    line = replace(descriptor.extents[0], sectors=capacity_bytes // 512)
    path.write_text(replace(descriptor, extents=(line,)).render())


def _with_ddb(path: Path, **changes: str) -> None:
    descriptor = read(path)
    path.write_text(replace(descriptor, ddb={**descriptor.ddb, **changes}).render())


def set_thin(path: Path, *, thin: bool) -> None:
    _with_ddb(path, thinProvisioned="1" if thin else "0")


def uuid_of(path: Path) -> str:
    return read(path).ddb.get("uuid", "")


def set_uuid(path: Path, uuid: str) -> None:
    _with_ddb(path, uuid=uuid)


def geometry(path: Path) -> Any:
    sectors = read(path).capacity_bytes // 512
    return vim.host.DiskDimensions.Chs(cylinder=sectors // (255 * 63), head=255, sector=63)


def copy_file(source: Path, target: Path) -> None:
    """A file with its holes."""
    with target.open("xb") as file:
        file.truncate(source.stat().st_size)
    copy_sparse(source, target)
