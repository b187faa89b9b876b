"""What the row of a restore or verification says where a backup's has its job's document."""

from __future__ import annotations

from typing import Any, Final

from vbm.vsphere.restore_spec import RestoreSpec

PRIORITY: Final = 10  # before backups, whose priority is 100: somebody is waiting
_RETRIES: Final = {
    "restore": {"attempts": 2, "wait_seconds": 10},
    "verify": {"attempts": 3, "wait_seconds": 30},
    "check": {"attempts": 3, "wait_seconds": 30},
    "gc": {"attempts": 3, "wait_seconds": 60},
}


def document_of(kind: str) -> dict[str, Any]:
    """No window, no deadline, no limit of its own."""
    return {
        "limits": {"parallel_vms": 0, "bytes_per_second": 0},
        "schedule": {},
        "retries": _RETRIES[kind],
        "deadline_seconds": 0,
        "notifications": [],
        "priority": PRIORITY,
    }


def restore_parameters(spec: RestoreSpec) -> dict[str, Any]:
    """What a restore is asked, as the run keeps and shows it."""
    return {
        "name": spec.name,
        "in_place": spec.in_place,
        "datastore": spec.datastore,
        "host": spec.host,
        "folder": spec.folder,
        "resource_pool": spec.resource_pool,
        "datacenter": spec.datacenter,
        "network": dict(spec.network_map),
        "power_on": spec.power_on,
    }


def restore_spec(parameters: dict[str, Any]) -> RestoreSpec:
    """The reverse."""
    return RestoreSpec(
        name=parameters["name"],
        in_place=parameters["in_place"],
        datastore=parameters["datastore"],
        host=parameters["host"],
        folder=parameters["folder"],
        resource_pool=parameters["resource_pool"],
        datacenter=parameters.get("datacenter", ""),
        network_map=parameters["network"],
        power_on=parameters["power_on"],
    )
