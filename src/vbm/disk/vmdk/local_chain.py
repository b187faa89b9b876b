"""A chain of VMDK files in one local folder: what the lab serves and what an export leaves."""

from __future__ import annotations

from pathlib import Path

from vbm.disk.byte_source import FileSource, open_for_reading
from vbm.disk.vmdk.chain import ChainReader, Format, Link
from vbm.disk.vmdk.descriptor import Descriptor
from vbm.disk.vmdk.errors import MAX_CHAIN, MAX_DESCRIPTOR_BYTES, VmdkDamagedError, VmdkUnsupportedError
from vbm.disk.vmdk.names import member_name


def read_descriptor(path: Path) -> Descriptor:
    """The descriptor in that file. Reads at most 64 KiB of it."""
    with open(open_for_reading(path), "rb") as file:  # noqa: PTH123 - open_for_reading names the errors
        return Descriptor.parse(file.read(MAX_DESCRIPTOR_BYTES + 1))


def descriptors(path: Path) -> list[tuple[Path, Descriptor]]:
    """The descriptors from the head to the base, all in one folder. A loop raises VmdkDamagedError."""
    found: list[tuple[Path, Descriptor]] = []
    while True:
        descriptor = read_descriptor(path)
        found.append((path, descriptor))
        if not descriptor.has_parent:
            return found
        path = path.parent / member_name(descriptor.parent_file_name_hint)
        if path in {known for known, _ in found}:
            raise VmdkDamagedError(f"a chain of snapshots that leads back to {path}")
        if len(found) > MAX_CHAIN:
            raise VmdkUnsupportedError(f"a chain of more than {MAX_CHAIN} snapshots at {path}")


def open_local_chain(path: Path) -> ChainReader:
    """The disk whose head's descriptor is that file."""
    links: list[Link] = []
    try:
        for where, descriptor in descriptors(path):
            if len(descriptor.extents) != 1:
                raise VmdkUnsupportedError(
                    f"{where} consists of {len(descriptor.extents)} extents, not of one"
                )
            (extent,) = descriptor.extents
            source = FileSource(where.parent / member_name(extent.file_name))
            links.append(Link(Format.of(extent.type), source, descriptor.capacity_bytes, extent.offset * 512))
        return ChainReader(links)
    except BaseException:
        for link in links:
            link.source.close()
        raise
