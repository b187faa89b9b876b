"""From a snapshot's backing to the files that have the disk's bytes: descriptors walked from the head to the base.

Only what the snapshot's own configuration names is a starting point; a descriptor's parent is followed, at most
as far as vSphere allows snapshots. Content ids are a sanity check only: a fresh delta has its parent's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vbm.disk.vmdk.chain import Format
from vbm.disk.vmdk.descriptor import NO_PARENT, Descriptor
from vbm.disk.vmdk.errors import MAX_CHAIN, VmdkDamagedError, VmdkUnsupportedError
from vbm.disk.vmdk.names import member_name, volume_path
from vbm.errors import VbmError
from vbm.units import SECTOR
from vbm.vsphere.datastore_path import DatastorePath
from vbm.vsphere.transports.base import TransportUnsuitableError

_log = logging.getLogger(__name__)
_NOT_FILES: Final = {
    "vsan://": "its bytes are in a vSAN object, not in a file",
    "vvol://": "its bytes are in a virtual volume, not in a file",
}
_RAW: Final = frozenset({"VMFSRDM", "VMFSRAW"})

FetchDescriptor = Callable[[DatastorePath], bytes]
FindDatastore = Callable[
    [str], str
]  # volume of /vmfs/volumes/<volume>, a UUID or name → datastore; "" unknown


@dataclass(frozen=True, slots=True)
class ExtentFile:
    """One link: the file that has its bytes and how it keeps them."""

    path: DatastorePath
    format: Format
    capacity_bytes: int
    offset: int  # where a flat extent's data begins


def walk(head: DatastorePath, fetch: FetchDescriptor, find_datastore: FindDatastore) -> list[ExtentFile]:
    """The links from the head to the base.

    Raises TransportUnsuitableError, with the reason, for what has no extent files (vSAN, vVol, raw device
    mappings, encrypted disks) or can't be followed; VmdkDamagedError for a loop or nonsense.
    """
    links: list[ExtentFile] = []
    seen: set[DatastorePath] = set()
    path, child = head, None
    while True:
        if path in seen:
            raise VmdkDamagedError(f"a chain of snapshots that leads back to {path}")
        if len(seen) > MAX_CHAIN:
            raise VmdkDamagedError(f"a chain of more than {MAX_CHAIN} snapshots at {head}")
        seen.add(path)
        descriptor = _parse(path, fetch(path))
        if child is not None and child.parent_cid not in (descriptor.cid, NO_PARENT):
            _log.warning("%s: its content id is not the one that its child remembers", path)
        links.append(_extent(path, descriptor))
        if not descriptor.has_parent:
            return links
        path, child = _parent(path, descriptor.parent_file_name_hint, find_datastore), descriptor


def _parse(path: DatastorePath, data: bytes) -> Descriptor:
    try:
        return Descriptor.parse(data)
    except VmdkUnsupportedError as error:
        raise TransportUnsuitableError(f"{path} can't be read: {error.message}") from error


def _extent(path: DatastorePath, descriptor: Descriptor) -> ExtentFile:
    if descriptor.encrypted:
        raise TransportUnsuitableError(f"{path} is encrypted: the datastore gives out ciphertext only")
    if len(descriptor.extents) != 1:
        raise TransportUnsuitableError(f"{path} consists of {len(descriptor.extents)} extents, not of one")
    (extent,) = descriptor.extents
    for prefix, reason in _NOT_FILES.items():
        if extent.file_name.lower().startswith(prefix):
            raise TransportUnsuitableError(f"{path}: {reason}")
    if extent.type in _RAW:
        raise TransportUnsuitableError(
            f"{path} is a raw device mapping: its bytes are on a LUN, not in a file"
        )
    try:
        name, kind = member_name(extent.file_name), Format.of(extent.type)
    except VbmError as error:
        raise TransportUnsuitableError(f"{path} can't be read: {error.message}") from error
    return ExtentFile(path.sibling(name), kind, descriptor.capacity_bytes, extent.offset * SECTOR)


def _parent(path: DatastorePath, hint: str, find_datastore: FindDatastore) -> DatastorePath:
    if not hint:
        raise VmdkDamagedError(f"{path} has a parent but does not name it")
    try:
        volume, relative = volume_path(hint)
    except VmdkUnsupportedError as error:
        raise TransportUnsuitableError(f"the parent of {path} can't be followed: {error.message}") from error
    if not volume:
        return path.sibling(relative)
    datastore = find_datastore(volume)
    if not datastore:
        raise TransportUnsuitableError(
            f"the parent of {path} lies on the volume {volume}, which this account sees no datastore of"
        )
    return DatastorePath(datastore, relative)
