"""The manifest: one restore point's document, written last; the restore point exists if and only if it does."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Final

from vbm.clock import parse_rfc3339, rfc3339
from vbm.errors import NotFoundError
from vbm.ids import ChangeId, DiskKey, MoRef, RestorePointId, RunId, VmUuid
from vbm.repository.format import FORMAT_VERSION, SAFE_SEGMENT, FormatError, NewerFormatError


@dataclass(frozen=True, slots=True)
class ByteCounts:
    """What one backup read and wrote. ``read``: from the source; ``new``: stored bytes added to the repository."""

    read: int = 0
    changed: int = 0
    audited: int = 0
    new: int = 0
    zero: int = 0


@dataclass(frozen=True, slots=True)
class DiskEntry:
    """One disk as the engine hands it over. ``path`` is its name in the restore point, such as disk-2000.map."""

    disk_key: DiskKey
    disk_uuid: str
    capacity_bytes: int
    change_id: ChangeId | None
    path: str
    label: str = ""
    read_mode: str = "full"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a restore point: a disk's map, the VMX, the NVRAM, a descriptor.

    ``sha256`` is that of a small file; a disk's is null and ``map_sha256``, that of its stored map, vouches.
    """

    path: str
    size_bytes: int
    sha256: str | None = None
    disk_key: DiskKey | None = None
    disk_uuid: str | None = None
    capacity_bytes: int | None = None
    change_id: ChangeId | None = None
    map_sha256: str | None = None
    label: str | None = None
    read_mode: str | None = None
    stored_as: str | None = None  # the last part of its object's name where that is not ``path``

    @property
    def is_disk(self) -> bool:
        return self.disk_key is not None


@dataclass(frozen=True, slots=True)
class ManifestDraft:
    """What the engine knows of a restore point; the writer adds the files."""

    restore_point_id: RestorePointId
    run_id: RunId
    vm_name: str
    vm_moref: MoRef
    vm_instance_uuid: VmUuid
    vcenter: str
    started: datetime
    finished: datetime
    snapshot: str
    consistency: str  # crash, application
    read_mode: str  # full, incremental
    transport: str
    bytes: ByteCounts = ByteCounts()
    parent: RestorePointId | None = None
    job_id: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    excluded_disks: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest(ManifestDraft):
    """A restore point as stored."""

    format: int = FORMAT_VERSION
    files: tuple[FileEntry, ...] = ()

    @property
    def disks(self) -> tuple[FileEntry, ...]:
        return tuple(entry for entry in self.files if entry.is_disk)

    @property
    def size_bytes(self) -> int:
        """The capacity of its disks together."""
        return sum(disk.capacity_bytes or 0 for disk in self.disks)

    def disk(self, key: DiskKey) -> FileEntry:
        """The entry of one disk. Raises NotFoundError naming those there are."""
        for entry in self.disks:
            if entry.disk_key == key:
                return entry
        there = ", ".join(f"{disk.disk_key} ({disk.label})" for disk in self.disks) or "none"
        raise NotFoundError(
            f"restore point {self.restore_point_id} has no disk {key}", hint=f"it has: {there}"
        )

    def to_document(self) -> dict[str, Any]:
        """The JSON document: times as RFC 3339 UTC, files without the fields that say nothing of them."""
        document = asdict(self)
        document |= {"started": rfc3339(self.started), "finished": rfc3339(self.finished)}
        document["files"] = [_file_document(entry) for entry in self.files]
        return {"format": document.pop("format"), **document}

    def to_json(self) -> bytes:
        """The stored bytes; ``integrity`` is the SHA-256 of the document without it, as compact sorted JSON."""
        document = self.to_document()
        return json.dumps(
            {**document, "integrity": _integrity(document)}, indent=1, ensure_ascii=False
        ).encode()

    @classmethod
    def from_json(cls, stored: bytes, key: str) -> Manifest:
        """Raises FormatError for a damaged one, NewerFormatError for one of a later version."""
        try:
            document = json.loads(stored)
            if document["format"] > FORMAT_VERSION:
                raise NewerFormatError(f"{key} has format {document['format']}", hint="use a newer vbm")
            if document.pop("integrity") != _integrity(document):
                raise FormatError(f"{key} is damaged", key=key)
            return cls(**_values(document))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise FormatError(f"{key} is damaged: {error}", key=key) from error


_ALWAYS: Final = {"path", "size_bytes", "sha256"}
_OF_DISKS: Final = {"change_id"}


def _file_document(entry: FileEntry) -> dict[str, Any]:
    shown = _ALWAYS | (_OF_DISKS if entry.is_disk else set())
    return {name: value for name, value in asdict(entry).items() if value is not None or name in shown}


def _integrity(document: dict[str, Any]) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _values(document: dict[str, Any]) -> dict[str, Any]:
    for entry in document["files"]:
        if not all(SAFE_SEGMENT.fullmatch(name) for name in (entry["path"], entry.get("stored_as") or "x")):
            raise ValueError("a file's path is not a name")
    known = {name.name for name in fields(Manifest)}
    values = {name: value for name, value in document.items() if name in known}
    return values | {
        "started": parse_rfc3339(values["started"]),
        "finished": parse_rfc3339(values["finished"]),
        "bytes": ByteCounts(**values["bytes"]),
        "files": tuple(FileEntry(**entry) for entry in values["files"]),
        "excluded_disks": tuple(values["excluded_disks"]),
        "notes": tuple(values["notes"]),
    }
