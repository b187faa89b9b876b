"""``/vms``: virtual machines, and whether they are protected."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from vbm.clock import rfc3339
from vbm.security.roles import Permission
from vbm.services import protected, vcenters
from vbm.services.protected import Machine
from vbm.web.access import needs
from vbm.web.api.paging import Pages, by_name
from vbm.web.api.schemas import Page, Time
from vbm.web.state import Space

router = APIRouter(prefix="/vms", tags=["vms"])


class DiskShown(BaseModel):
    key: int
    label: str
    capacity_bytes: int
    included: bool
    reason: str


class VmShown(BaseModel):
    name: str
    instance_uuid: str
    moref: str
    vcenter: str
    datacenter: str
    folder: str
    host: str
    power_state: str
    template: bool
    cbt_enabled: bool
    skip_reason: Annotated[str, Field(description="Why it can't be backed up; empty where it can.")]
    snapshots: int
    protected: bool
    last_backup: Time | None
    restore_points: int
    jobs: list[str]
    disks: list[DiskShown]


def document(found: Machine) -> dict[str, Any]:
    vm = found.vm
    return {
        "name": vm.name,
        "instance_uuid": vm.instance_uuid,
        "moref": vm.moref,
        "vcenter": found.vcenter,
        "datacenter": vm.datacenter,
        "folder": vm.folder,
        "host": vm.host,
        "power_state": vm.power_state,
        "template": vm.template,
        "cbt_enabled": vm.cbt_enabled,
        "skip_reason": vm.skip_reason,
        "snapshots": len(vm.snapshot_names),
        "protected": found.last is not None,
        "last_backup": rfc3339(found.last) if found.last else None,
        "restore_points": found.points,
        "jobs": list(found.jobs),
        "disks": [
            {
                "key": verdict.disk.key,
                "label": verdict.disk.label,
                "capacity_bytes": verdict.disk.capacity_bytes,
                "included": verdict.included,
                "reason": verdict.reason,
            }
            for verdict in found.verdicts
        ],
    }


@router.get("", dependencies=[needs(Permission.SEE)], response_model=Page[VmShown])
def list_vms(
    space: Space,
    paging: Pages,
    vcenter: Annotated[str, Query(max_length=200, description="Name or id.")] = "",
    name: Annotated[str, Query(max_length=400, description="A part of it.")] = "",
    protection: Annotated[bool | None, Query(description="Only those with, or without, a backup.")] = None,
) -> dict[str, Any]:
    """By name. At most a minute old."""
    vcenter = vcenters.seen(space, vcenter).id if vcenter else ""
    found = protected.machines(space, vcenter=vcenter, name=name, protection=protection)
    return paging.slice(found, lambda one: by_name(one.vm.name, one.vm.instance_uuid), document)


@router.get("/{vm}", dependencies=[needs(Permission.SEE)], response_model=VmShown)
def get_vm(space: Space, vm: str) -> dict[str, Any]:
    """The VM of that instance UUID or name."""
    return document(protected.machine(space, vm))
