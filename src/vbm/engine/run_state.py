"""The state of one backup run between its phases: plain values, kept as JSON, so that another process can go on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from vbm.ids import DiskKey, MoRef, RestorePointId, RunId, VmUuid
from vbm.vsphere.model import VirtualDisk

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class FrozenDisk:
    """One disk as the snapshot froze it: what must still be so when the reading ends."""

    key: DiskKey
    uuid: str
    capacity_bytes: int
    file_name: str

    @classmethod
    def of(cls, disk: VirtualDisk) -> FrozenDisk:
        return cls(disk.key, disk.uuid, disk.capacity_bytes, disk.file_name)


@dataclass(frozen=True, slots=True)
class ExcludedDisk:
    key: DiskKey
    label: str
    reason: str
    capacity_bytes: int


@dataclass(frozen=True, slots=True)
class RunState:
    """``included``: the keys of the disks to read. ``frozen``: empty until the snapshot is made."""

    run_id: RunId
    restore_point: RestorePointId
    started: str  # RFC 3339
    job_id: str
    mode: Literal["auto", "full"]
    quiesce: bool
    vcenter: str
    vcenter_uuid: str
    vm: MoRef
    vm_uuid: VmUuid
    vm_name: str
    repository: str
    snapshot: str
    included: tuple[DiskKey, ...]
    excluded: tuple[ExcludedDisk, ...] = ()
    frozen: tuple[FrozenDisk, ...] = ()
    snapshot_created: str = ""
    consistency: Literal["crash", "application"] = "crash"
    cbt_enabled: bool = False
    reset_cbt: bool = False  # once the snapshot is gone
    committed: bool = False
    snapshot_removed: bool = False
    resumed: bool = False

    def to_json(self) -> bytes:
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> RunState:
        """Raises ValueError where it is no state of ours."""
        try:
            document: dict[str, Any] = json.loads(data)
            if document.pop("format") != _FORMAT:
                raise ValueError("written by another version")
            document["excluded"] = tuple(ExcludedDisk(**d) for d in document["excluded"])
            document["frozen"] = tuple(FrozenDisk(**d) for d in document["frozen"])
            document["included"] = tuple(document["included"])
            return cls(**document)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the state of a run: {error}") from error
