"""What people are told of a snapshot that stayed behind."""

from __future__ import annotations

from datetime import datetime

from vbm.catalog.snapshots import SnapshotRecord
from vbm.clock import rfc3339
from vbm.notifications.events import Event, EventKind
from vbm.units import format_duration


def left_behind(record: SnapshotRecord, now: datetime) -> Event:
    age = format_duration((now - record.created).total_seconds())
    tried = f"removal was tried {record.tries} times" if record.tries else "its run is still at work"
    facts = [
        ("Snapshot", record.name),
        ("Age", age),
        ("vCenter", record.vcenter_name),
        ("Datastore", record.datastores),
        ("Made", rfc3339(record.created)),
        ("Tried", tried + (f"; the last error: {record.last_error}" if record.last_error else "")),
    ]
    return Event(
        kind=EventKind.SNAPSHOT_LEFT,
        message=f"The snapshot {record.name} of {record.vm_name} is still there after {age}; {tried}.",
        time=now,
        job=record.job_name,
        vm=record.vm_name,
        run_id=record.run_id,
        about=record.name,
        remedy="It grows as the VM writes. It is tried again by itself; look for a lock by another product or a "
        "proxy that holds one of its disks, and remove it in the vSphere Client if the datastore fills up.",
        facts=tuple(facts),
    )


def gone(record: SnapshotRecord, now: datetime) -> Event:
    age = format_duration((now - record.created).total_seconds())
    return Event(
        kind=EventKind.SNAPSHOT_GONE,
        message=f"The snapshot {record.name} of {record.vm_name} is gone, after {age}.",
        time=now,
        job=record.job_name,
        vm=record.vm_name,
        run_id=record.run_id,
        about=record.name,
    )
