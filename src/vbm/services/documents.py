"""The documents that people and scripts see, the same at the command line and in the API."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from vbm.clock import Clock, SystemClock, rfc3339
from vbm.later import later
from vbm.policy.scope import folders_within, whole_vcenters
from vbm.services.restore_points import Listed
from vbm.vsphere.tls import show_thumbprint

if TYPE_CHECKING:
    from vbm.catalog import repositories as known
    from vbm.catalog.channels import ChannelRecord
    from vbm.catalog.jobs import JobRecord
    from vbm.catalog.repositories import RepositoryRecord
    from vbm.catalog.restore_points import PointRecord
    from vbm.catalog.runs import RunRecord
    from vbm.catalog.users import ApiKeyRecord, UserRecord
    from vbm.catalog.vcenters import VcenterRecord
    from vbm.vsphere.model import VirtualMachine
else:
    known = later("vbm.catalog.repositories")


def when(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None


def job_document(record: JobRecord) -> dict[str, Any]:
    """The job as it was given, every default filled in, and how it stands."""
    return {
        "id": record.id,
        **record.document,
        "enabled": record.enabled,
        "created": rfc3339(record.created),
        "updated": rfc3339(record.updated),
        "next_run": when(record.next_run),
        "last_started": when(record.last_started),
        "last_success": when(record.last_success),
        "last_state": record.last_state or None,
        "unmatched": list(record.unmatched),
    }


def run_document(record: RunRecord, clock: Clock | None = None) -> dict[str, Any]:
    """One run: how far it is, or how it ended."""
    rate, eta = run_rate(record, clock or SystemClock())
    error = {"code": record.error_code, "message": record.error_message, "hint": record.error_hint}
    return {
        "id": record.id,
        "kind": record.kind,
        "job_id": record.job_id or None,
        "job": record.job_name or None,
        "execution_id": record.execution_id,
        "vm": record.vm_name,
        "vm_instance_uuid": record.vm_uuid,
        "vcenter_id": record.vcenter_id or None,
        "repository_id": record.repository_id,
        "state": record.state,
        "phase": record.phase or None,
        "bytes_total": record.bytes_total,
        "bytes_done": record.bytes_done,
        "disks": [dict(disk) for disk in record.disks],
        "rate": rate,
        "eta_seconds": eta,
        "created": rfc3339(record.created),
        "started": when(record.started),
        "finished": when(record.finished),
        "error": error if record.error_code else None,
        "restore_point_id": record.restore_point_id or None,
        "worker": record.worker_id or None,
        "attempts": record.attempts,
        "snapshot_state": record.snapshot_state,
        "cancel_requested": record.cancel_requested_at is not None,
        "warnings": list(record.warnings),
        "result": record.result or None,
        "parameters": record.parameters or None,
    }


def run_rate(record: RunRecord, clock: Clock) -> tuple[int | None, int | None]:
    """(bytes a second, seconds left) while it reads."""
    if record.state != "running" or record.reading_since is None or not record.bytes_done:
        return None, None
    seconds = max(0.1, (clock.now() - record.reading_since).total_seconds())
    rate = record.bytes_done / seconds
    return int(rate), int((record.bytes_total - record.bytes_done) / rate)


def vcenter_document(record: VcenterRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "host": record.host,
        "port": record.port,
        "username": record.username,
        "thumbprint": show_thumbprint(record.thumbprint) if record.thumbprint else None,
        "ca_file": record.ca_file or None,
        "product": record.product,
        "instance_uuid": record.instance_uuid,
        "created": rfc3339(record.created),
    }


def repository_document(record: RepositoryRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "url": record.url,
        "repository_id": record.repository_id,
        "encrypted": record.key_kind is not known.KeyKind.NONE,
        "key": record.key_kind.value,
        "chunk_size_bytes": record.chunk_size_bytes,
        "compression": record.compression,
        "created": rfc3339(record.created),
    }


def channel_document(record: ChannelRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "kind": record.kind,
        "address": record.shown,
        "on": list(record.events),
        "created": rfc3339(record.created),
    }


def verified_document(time: datetime | None, mode: str, *, good: bool) -> dict[str, Any] | None:
    """How a restore point was found when it was verified last; None where it never was."""
    return {"time": rfc3339(time), "mode": mode, "good": good} if time else None


def point_document(record: PointRecord, repository: str = "") -> dict[str, Any]:
    """A restore point as the catalog knows it."""
    return {
        "id": record.id,
        "repository_id": record.repository_id,
        "repository": repository or None,
        "vm_name": record.vm_name,
        "vm_instance_uuid": record.vm_uuid,
        "vcenter": record.vcenter,
        "started": rfc3339(record.started),
        "finished": rfc3339(record.finished),
        "read_mode": record.read_mode,
        "consistency": record.consistency,
        "size_bytes": record.size_bytes,
        "new_bytes": record.new_bytes,
        "job_id": record.job_id or None,
        "run_id": record.run_id,
        "verified": verified_document(record.verified, record.verified_mode, good=bool(record.verified_good)),
        "pinned": record.pinned,
    }


def listed_point_document(found: Listed) -> dict[str, Any]:
    """A restore point as its repository tells of it."""
    manifest, verdict = found.manifest, found.verified
    return {
        "id": manifest.restore_point_id,
        "vm_name": manifest.vm_name,
        "vm_instance_uuid": manifest.vm_instance_uuid,
        "vcenter": manifest.vcenter,
        "repository": found.repository,
        "started": rfc3339(manifest.started),
        "finished": rfc3339(manifest.finished),
        "read_mode": manifest.read_mode,
        "consistency": manifest.consistency,
        "size_bytes": manifest.size_bytes,
        "new_bytes": manifest.bytes.new,
        "verified": verified_document(verdict.time, verdict.mode, good=verdict.good) if verdict else None,
        "pinned": found.pinned,
    }


def vm_document(vm: VirtualMachine, *, protected: bool) -> dict[str, Any]:
    """A virtual machine as its vCenter tells of it."""
    return {
        "name": vm.name,
        "moref": vm.moref,
        "instance_uuid": vm.instance_uuid,
        "vcenter": vm.vcenter,
        "folder": vm.folder,
        "datacenter": vm.datacenter,
        "host": vm.host,
        "power_state": vm.power_state,
        "template": vm.template,
        "cbt_enabled": vm.cbt_enabled,
        "skip_reason": vm.skip_reason,
        "disks": [{"key": d.key, "label": d.label, "capacity_bytes": d.capacity_bytes} for d in vm.disks],
        "protected": protected,
    }


def user_document(record: UserRecord) -> dict[str, Any]:
    """A user, without anything that would let somebody sign in."""
    return {
        "id": record.id,
        "name": record.name,
        "role": record.role,
        "source": record.source,
        "disabled": record.disabled,
        "second_factor": record.has_second_factor,
        **_limits(record.scope),
        "created": rfc3339(record.created),
        "last_seen": when(record.last_seen),
    }


def _limits(scope: Sequence[str]) -> dict[str, Any]:
    parts = [{"vcenter_id": vcenter, "path": path} for vcenter, path in folders_within(scope)]
    return {"vcenters": whole_vcenters(scope), "folders": parts}


def api_key_document(record: ApiKeyRecord) -> dict[str, Any]:
    """An API key, without the key."""
    return {
        "id": record.id,
        "name": record.name,
        "role": record.role,
        **_limits(record.scope),
        "created": rfc3339(record.created),
        "expires": when(record.expires),
        "last_used": when(record.last_used),
    }
