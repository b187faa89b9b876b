"""The inventory tree as references: what an object's kind, children, parent and wire name are."""

from __future__ import annotations

from typing import Any

from vbm.lab.inventory import escaped
from vbm.lab.state import LabState
from vbm.lab.vmodl import reference, type_name


def wire_name(name: str) -> str:
    """A name as the inventory shows it: ``/``, ``\\`` and ``%`` escaped."""
    return escaped(name)


def kind_of(state: LabState, moref: str) -> str:
    """The wsdl type of an inventory object's id; ``""`` where there is none."""
    if moref in state.machines:
        return "VirtualMachine"
    tables: tuple[tuple[str, Any], ...] = (
        ("Folder", state.folders),
        ("Datacenter", state.datacenters),
        ("ClusterComputeResource", state.clusters),
        ("ResourcePool", state.pools),
        ("HostSystem", state.hosts),
        ("Datastore", state.datastores),
        ("Network", state.networks),
    )
    return next((kind for kind, table in tables if moref in table), "")


def ref_of(state: LabState, moref: str) -> Any:
    """The reference of an inventory object; None where there is none."""
    kind = kind_of(state, moref)
    return reference(kind, moref) if kind else None


def children_of(state: LabState, ref: Any) -> list[Any]:
    """What lies directly below an object, as container views walk it."""
    moid = ref._moId
    match type_name(ref):
        case "Folder":
            return _refs(state, state.children(moid))
        case "Datacenter":
            dc = state.datacenters[moid]
            return _refs(state, [dc.vm_folder, dc.host_folder, dc.datastore_folder, dc.network_folder])
        case "ClusterComputeResource":
            return _refs(state, [*hosts_of(state, moid), state.clusters[moid].resource_pool])
        case "ResourcePool":
            pools = [pool.moref for pool in state.pools.values() if pool.parent == moid]
            return _refs(state, [*pools, *machines_where(state, resource_pool=moid)])
        case "HostSystem":
            return _refs(state, machines_where(state, host=moid))
    return []


def _refs(state: LabState, morefs: list[str]) -> list[Any]:
    return [ref for ref in (ref_of(state, moref) for moref in morefs) if ref is not None]


def hosts_of(state: LabState, cluster: str) -> list[str]:
    return [host.moref for host in state.hosts.values() if host.parent == cluster]


def machines_where(state: LabState, *, resource_pool: str = "", host: str = "") -> list[str]:
    """Machines of a pool or a host."""
    return [
        machine.moref
        for machine in [*state.machines.values()]
        if (not resource_pool or (machine.resource_pool == resource_pool and not machine.template))
        and (not host or machine.host == host)
    ]


def machines_on(state: LabState, datastore: str) -> list[str]:
    """Machines with their home or a disk on the datastore of that name."""
    return [
        machine.moref
        for machine in [*state.machines.values()]
        if machine.datastore == datastore or any(disk.datastore == datastore for disk in machine.config.disks)
    ]


def parent_of(state: LabState, moref: str) -> str:
    """The id of what an object lies in; ``""`` for the root."""
    return state.parent_of(moref)


def name_of(state: LabState, moref: str) -> str:
    """The plain name of an inventory object; ``""`` where there is none."""
    machine = state.machines.get(moref)
    if machine is not None:
        return machine.name
    entity: Any = state.entity(moref) if kind_of(state, moref) else None
    return entity.name if entity is not None else ""
