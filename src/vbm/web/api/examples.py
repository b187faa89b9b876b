"""What the OpenAPI document shows of each operation: a request that can be sent, and what is answered to it."""

from __future__ import annotations

from typing import Any, Final

Document = dict[str, Any]
_JOB_ID: Final = "20261123T093418287-a720c4119a"
_RUN_ID: Final = "20261124T030001120-5b1c77e0d4"
_POINT_ID: Final = "20261124T030004812-8d24e7e1ba"
_REPOSITORY_ID: Final = "20261120T120000000-0f3a9be411"
_VCENTER_ID: Final = "20261120T120500000-c7712de08b"
_UUID: Final = "5029a3f1-7c1e-1f0d-9c55-3b0e2c4d9a10"
_GIB: Final = 1024**3

_JOB_GIVEN: Final[Document] = {
    "name": "nightly",
    "vcenter_id": "prod",
    "repository_id": "main",
    "selection": {"vms": ["web*"], "folders": ["Finance"], "exclude": {"vms": ["web-test"]}},
    "schedule": {"cron": "0 3 * * *", "timezone": "Europe/Paris", "window": "22:00-06:00"},
    "retention": {"keep_last": 3, "gfs": {"daily": 7, "weekly": 4, "monthly": 12, "yearly": 2}},
    "verify": "quick",
}
_NOTHING: Final[Document] = {
    "vms": [],
    "folders": [],
    "tags": [],
    "resource_pools": [],
    "attributes": [],
}
_JOB: Final[Document] = {
    "id": _JOB_ID,
    "name": "nightly",
    "enabled": True,
    "vcenter_id": _VCENTER_ID,
    "repository_id": _REPOSITORY_ID,
    "selection": _NOTHING
    | {"vms": ["web*"], "folders": ["Finance"], "exclude": _NOTHING | {"vms": ["web-test"]}},
    "schedule": {
        "cron": "0 3 * * *",
        "timezone": "Europe/Paris",
        "window": "22:00-06:00",
        "window_end": "end",
        "misfire_grace_seconds": 3600,
    },
    "retention": {
        "keep_last": 3,
        "keep_days": 0,
        "gfs": {"daily": 7, "weekly": 4, "monthly": 12, "yearly": 2},
    },
    "mode": "auto",
    "active_full_every": 0,
    "quiesce": False,
    "excluded_disks": [],
    "limits": {"parallel_vms": 0, "bytes_per_second": 0},
    "retries": {"attempts": 3, "wait_seconds": 300},
    "deadline_seconds": 0,
    "priority": 100,
    "verify": "quick",
    "notifications": [],
    "snapshot_timeout_seconds": 14400,
    "created": "2026-11-23T09:34:18.287Z",
    "updated": "2026-11-23T09:34:18.287Z",
    "next_run": "2026-11-25T02:00:00Z",
    "last_started": "2026-11-24T02:00:01.120Z",
    "last_success": "2026-11-24T02:00:31.502Z",
    "last_state": "succeeded",
    "unmatched": [],
}
_RUN: Final[Document] = {
    "id": _RUN_ID,
    "kind": "backup",
    "job_id": _JOB_ID,
    "job": "nightly",
    "execution_id": "20261124T020000500-17ac90ffe2",
    "vm": "web01",
    "vm_instance_uuid": _UUID,
    "vcenter_id": _VCENTER_ID,
    "repository_id": _REPOSITORY_ID,
    "state": "running",
    "phase": "downloading",
    "bytes_total": 4 * _GIB,
    "bytes_done": _GIB,
    "disks": [{"key": 2000, "label": "Hard disk 1", "bytes_total": 4 * _GIB, "bytes_done": _GIB}],
    "rate": 157286400,
    "eta_seconds": 20,
    "created": "2026-11-24T02:00:00.500Z",
    "started": "2026-11-24T02:00:01.120Z",
    "finished": None,
    "error": None,
    "restore_point_id": None,
    "worker": "20261123T080000000-77b0e1f2aa",
    "attempts": 1,
    "snapshot_state": "present",
    "cancel_requested": False,
    "warnings": [],
    "result": None,
    "parameters": None,
}
_QUEUED: Final[Document] = _RUN | {
    "job_id": None,
    "job": None,
    "execution_id": "",
    "state": "queued",
    "phase": None,
    "bytes_total": 0,
    "bytes_done": 0,
    "disks": [],
    "rate": None,
    "eta_seconds": None,
    "started": None,
    "worker": None,
    "attempts": 0,
    "snapshot_state": "none",
}
_POINT: Final[Document] = {
    "id": _POINT_ID,
    "repository_id": _REPOSITORY_ID,
    "repository": "main",
    "vm_name": "web01",
    "vm_instance_uuid": _UUID,
    "vcenter": "prod",
    "started": "2026-11-24T02:00:04.812Z",
    "finished": "2026-11-24T02:00:29.007Z",
    "read_mode": "incremental",
    "consistency": "crash",
    "size_bytes": 40 * _GIB,
    "new_bytes": 812_331_008,
    "job_id": _JOB_ID,
    "run_id": _RUN_ID,
    "verified": {"time": "2026-11-24T02:00:31Z", "mode": "quick", "good": True},
    "pinned": False,
}
_VM: Final[Document] = {
    "name": "web01",
    "instance_uuid": _UUID,
    "moref": "vm-42",
    "vcenter": "prod",
    "datacenter": "Paris",
    "folder": "Finance",
    "host": "esx1.example.org",
    "power_state": "poweredOn",
    "template": False,
    "cbt_enabled": True,
    "skip_reason": "",
    "snapshots": 0,
    "protected": True,
    "last_backup": "2026-11-24T02:00:04.812Z",
    "restore_points": 12,
    "jobs": ["nightly"],
    "disks": [
        {
            "key": 2000,
            "label": "Hard disk 1",
            "capacity_bytes": 40 * _GIB,
            "included": True,
            "reason": "",
        }
    ],
}
_THUMBPRINT: Final = ":".join(["AB", "CD", "01", "23"] * 8)
_VCENTER: Final[Document] = {
    "id": _VCENTER_ID,
    "name": "prod",
    "host": "vc.example.org",
    "port": 443,
    "username": "backup@vsphere.local",
    "thumbprint": _THUMBPRINT,
    "ca_file": None,
    "product": "VMware vCenter Server 8.0.3",
    "instance_uuid": "f0c2a1de-0b1c-4c55-9a3e-1d2f3a4b5c6d",
    "created": "2026-11-20T12:05:00Z",
}
_REPOSITORY: Final[Document] = {
    "id": _REPOSITORY_ID,
    "name": "main",
    "url": "file:///backup/store",
    "repository_id": "0f3a9be4c1d2",
    "encrypted": True,
    "key": "passphrase",
    "chunk_size_bytes": 1048576,
    "compression": "default",
    "created": "2026-11-20T12:00:00Z",
}
_CHANNEL: Final[Document] = {
    "id": "20261120T121000000-aa01bb23cc",
    "name": "ops",
    "kind": "webhook",
    "address": "https://hooks.example.org/…",
    "on": ["warning", "failure", "snapshot_left"],
    "created": "2026-11-20T12:10:00Z",
}
_USER: Final[Document] = {
    "id": "20261120T121500000-de45ad0001",
    "name": "anna",
    "role": "operator",
    "source": "local",
    "disabled": False,
    "second_factor": True,
    "vcenters": [],
    "folders": [],
    "created": "2026-11-20T12:15:00Z",
    "last_seen": "2026-11-24T08:01:12Z",
}
_KEY: Final[Document] = {
    "id": "20261120T122000000-77ef12ab34",
    "name": "grafana",
    "role": "viewer",
    "vcenters": [],
    "folders": [],
    "created": "2026-11-20T12:20:00Z",
    "expires": "2027-11-20T00:00:00Z",
    "last_used": None,
}
_EXECUTION: Final[Document] = {
    "execution_id": "20261124T020000500-17ac90ffe2",
    "job_id": _JOB_ID,
    "state": "pending",
    "error": None,
    "runs": [],
}
_ANSWER: Final[Document] = {"ok": True, "message": "Logged in; VMware vCenter Server answers.", "hint": ""}


def _page(item: Document) -> Document:
    return {"items": [item], "next_cursor": None}


REQUESTS: Final[dict[str, Document]] = {
    "create_job": _JOB_GIVEN,
    "change_job": {"schedule": {"cron": "30 2 * * *"}, "retention": {"keep_days": 30}},
    "run_job": {"vms": ["web01"], "mode": "full"},
    "verify_backup": {"mode": "quick"},
    "restore_backup": {
        "name": "web01-restored",
        "datastore": "ssd2",
        "network": {"VM Network": "Isolated"},
        "power_on": False,
    },
    "ask_thumbprint": {"host": "vc.example.org"},
    "add_vcenter": {
        "name": "prod",
        "host": "vc.example.org",
        "username": "backup@vsphere.local",
        "password": "…",
        "thumbprint": _THUMBPRINT,
    },
    "change_vcenter": {"password": "…"},
    "create_repository": {"name": "main", "url": "file:///backup/store", "passphrase": "…"},
    "change_repository": {"name": "archive"},
    "check_repository": {"mode": "quick"},
    "add_channel": {
        "name": "ops",
        "url": "https://hooks.example.org/vbm",
        "kind": "webhook",
        "secret": "…",
        "on": ["warning", "failure", "snapshot_left"],
    },
    "change_channel": {"on": ["failure", "snapshot_left"]},
    "create_user": {"name": "anna", "role": "operator", "password": "…"},
    "change_user": {"role": "viewer", "folders": [{"vcenter_id": "prod", "path": "Tenants/Blue"}]},
    "create_key": {"name": "grafana", "role": "viewer", "expires": "2027-11-20T00:00:00Z"},
}
ANSWERS: Final[dict[str, Document]] = {
    "list_jobs": _page(_JOB),
    "create_job": _JOB,
    "get_job": _JOB | {"upcoming": ["2026-11-25T02:00:00Z", "2026-11-26T02:00:00Z"]},
    "change_job": _JOB,
    "run_job": _EXECUTION,
    "get_execution": _EXECUTION | {"state": "started", "runs": [_RUN]},
    "cancel_job": _EXECUTION | {"execution_id": "", "state": "cancelled", "runs": [_RUN]},
    "enable_job": _JOB,
    "disable_job": _JOB | {"enabled": False, "next_run": None},
    "list_runs": _page(_RUN),
    "get_run": _RUN,
    "cancel_run": _RUN | {"cancel_requested": True},
    "run_log": _page(
        {"number": 7, "time": "2026-11-24T02:00:02Z", "level": "info", "message": "snapshot made"}
    ),
    "list_vms": _page(_VM),
    "get_vm": _VM,
    "list_backups": _page(_POINT),
    "get_backup": _POINT,
    "pin_backup": _POINT | {"pinned": True},
    "unpin_backup": _POINT,
    "delete_backup": {"freed_bytes": 812331008},
    "verify_backup": _QUEUED
    | {"kind": "verify", "restore_point_id": _POINT_ID, "parameters": {"mode": "quick"}},
    "restore_backup": _QUEUED
    | {"kind": "restore", "restore_point_id": _POINT_ID, "parameters": {"name": "web01-restored"}},
    "list_vcenters": _page(_VCENTER),
    "ask_thumbprint": {"thumbprint": _THUMBPRINT},
    "add_vcenter": _VCENTER,
    "get_vcenter": _VCENTER,
    "change_vcenter": _VCENTER,
    "test_vcenter": _ANSWER,
    "list_repositories": _page(_REPOSITORY),
    "create_repository": _REPOSITORY,
    "get_repository": _REPOSITORY,
    "change_repository": _REPOSITORY | {"name": "archive"},
    "check_repository": _QUEUED
    | {
        "kind": "check",
        "vm": "main",
        "vm_instance_uuid": "",
        "vcenter_id": None,
        "parameters": {"mode": "quick"},
    },
    "collect_garbage": _QUEUED | {"kind": "gc", "vm": "main", "vm_instance_uuid": "", "vcenter_id": None},
    "get_usage": {
        "restore_points": 12,
        "logical_bytes": 480 * _GIB,
        "used_bytes": 300 * _GIB,
        "stored_bytes": 22 * _GIB,
        "needed_bytes": 21 * _GIB,
        "free_bytes": 900 * _GIB,
        "total_bytes": 1024 * _GIB,
        "vms": [
            {
                "vm_instance_uuid": _UUID,
                "vm_name": "web01",
                "restore_points": 12,
                "logical_bytes": 480 * _GIB,
                "unique_bytes": 18 * _GIB,
                "needed_bytes": 21 * _GIB,
            }
        ],
    },
    "list_channels": _page(_CHANNEL),
    "add_channel": _CHANNEL,
    "get_channel": _CHANNEL,
    "change_channel": _CHANNEL | {"on": ["failure", "snapshot_left"]},
    "test_channel": {"ok": True, "message": "The message was sent.", "hint": ""},
    "list_users": _page(_USER),
    "create_user": _USER,
    "get_user": _USER,
    "change_user": _USER
    | {"role": "viewer", "folders": [{"vcenter_id": _VCENTER_ID, "path": "Tenants/Blue"}]},
    "list_keys": _page(_KEY),
    "create_key": _KEY | {"key": "vbm_…"},
    "get_key": _KEY,
    "list_entries": _page(
        {
            "number": 4711,
            "time": "2026-11-24T08:01:12Z",
            "actor": "anna",
            "source": "192.0.2.7",
            "action": "job.run",
            "target": "nightly",
            "result": "",
            "detail": {"execution": "20261124T080112000-90ab12cd34"},
            "hash": "5f1d…",
        }
    ),
    "verify_audit": {"whole": True, "entries": 4711, "broken_at": 0, "last_hash": "5f1d…"},
    "get_calendar": {
        "month": "2026-11",
        "days": [{"date": "2026-11-24", "worst": "warning", "counts": {"succeeded": 41, "warning": 1}}],
    },
    "get_storage": {
        "repositories": [
            {
                "id": _REPOSITORY_ID,
                "name": "main",
                "free_bytes": 900 * _GIB,
                "total_bytes": 1024 * _GIB,
                "used_percent": 12,
                "volume": "8d3b4a2f91c07e55",
            }
        ],
        "growth": [{"date": "2026-11-24", "new_bytes": 5 * _GIB, "restore_points": 42}],
        "vms": [
            {
                "vm_name": "web01",
                "vm_instance_uuid": _UUID,
                "new_bytes": 812331008,
                "restore_points": 12,
            }
        ],
        "new_bytes_per_day": 5 * _GIB,
        "full_on": "2027-05-21",
    },
    "healthz": {"status": "ok"},
    "readyz": {"status": "ok"},
}
