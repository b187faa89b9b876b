"""What a backup answers: the fields of ``vbm backup --json`` and what a person may want to know besides."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from vbm.engine.disk_copy import DiskOutcome
from vbm.ids import DiskKey, RestorePointId, RunId


@dataclass(frozen=True, slots=True)
class DiskReport:
    """``bytes_resumed``: read by an interrupted run and not read again. ``bytes_new``: as stored, compressed."""

    key: DiskKey
    label: str
    capacity_bytes: int
    read_mode: str
    reason: str
    bytes_read: int
    bytes_changed: int
    bytes_audited: int
    bytes_new: int
    bytes_zero: int
    bytes_resumed: int

    @classmethod
    def of(cls, key: DiskKey, label: str, capacity_bytes: int, outcome: DiskOutcome) -> DiskReport:
        return cls(
            key=key,
            label=label,
            capacity_bytes=capacity_bytes,
            read_mode=outcome.mode,
            reason=outcome.reason,
            bytes_read=outcome.stats.bytes_read,
            bytes_changed=outcome.bytes_changed,
            bytes_audited=outcome.bytes_audited,
            bytes_new=outcome.stats.bytes_new,
            bytes_zero=outcome.stats.bytes_zero,
            bytes_resumed=outcome.bytes_resumed,
        )


@dataclass(frozen=True, slots=True)
class BackupResult:
    """``bytes_read`` does not contain ``bytes_audited``. ``bytes_changed``: for a disk read whole, what was read."""

    run_id: RunId
    restore_point: RestorePointId
    read_mode: str
    transport: str
    duration_seconds: float
    snapshot_removed: bool
    vm_name: str
    consistency: str
    resumed: bool
    disks: tuple[DiskReport, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def bytes_read(self) -> int:
        return sum(disk.bytes_read for disk in self.disks)

    @property
    def bytes_changed(self) -> int:
        return sum(disk.bytes_changed for disk in self.disks)

    @property
    def bytes_audited(self) -> int:
        return sum(disk.bytes_audited for disk in self.disks)

    @property
    def bytes_new(self) -> int:
        return sum(disk.bytes_new for disk in self.disks)

    @property
    def capacity_bytes(self) -> int:
        return sum(disk.capacity_bytes for disk in self.disks)

    def to_document(self) -> dict[str, Any]:
        """Plain JSON values: the contract's fields first."""
        fields = asdict(self)
        head = {name: fields.pop(name) for name in ("run_id", "restore_point", "read_mode", "transport")}
        sums = {name: getattr(self, name) for name in _SUMS}
        return {**head, **sums, **fields}


_SUMS: Final = ("bytes_read", "bytes_changed", "bytes_audited", "bytes_new", "capacity_bytes")
