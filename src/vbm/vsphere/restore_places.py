"""Where a VM could be restored to, as people choose it: names, free space, and why something can't be chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vbm.vsphere.restore_placement import Things
from vbm.vsphere.session import Session
from vbm.vsphere.soap import vim
from vbm.vsphere.topology import unescape


@dataclass(frozen=True, slots=True)
class DatastorePlace:
    """``hosts``: names of those that are up and mount it. ``reason``: why it can't be chosen; empty: it can."""

    name: str
    type: str
    free_bytes: int
    hosts: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class HostPlace:
    """``networks``: what its VMs can be connected to."""

    name: str
    cluster: str
    networks: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class DatacenterPlaces:
    """One datacenter by its readable path. ``folders``: paths below its VM folder, the folder itself left out."""

    path: str
    datastores: tuple[DatastorePlace, ...]
    hosts: tuple[HostPlace, ...]
    folders: tuple[str, ...]

    @property
    def networks(self) -> tuple[str, ...]:
        """Of all hosts that can be chosen."""
        return tuple(sorted({name for host in self.hosts if not host.reason for name in host.networks}))


def places(session: Session) -> tuple[DatacenterPlaces, ...]:
    """Every datacenter, read in one pass."""
    things = Things(session)
    found = [_datacenter(things, moref) for moref in things.of(vim.Datacenter)]
    return tuple(sorted(found, key=lambda place: place.path.casefold()))


def _datacenter(things: Things, datacenter: str) -> DatacenterPlaces:
    def inside(kind: Any) -> list[str]:
        found = [moref for moref in things.of(kind) if things.datacenter(moref) == datacenter]
        return sorted(found, key=lambda moref: things.name(moref).casefold())

    hosts = {moref: _host(things, moref) for moref in inside(vim.HostSystem)}
    datastores = [_datastore(things, moref, hosts) for moref in inside(vim.Datastore)]
    return DatacenterPlaces(
        unescape(things.stored_path(datacenter)),
        tuple(datastores),
        tuple(hosts.values()),
        tuple(_folders(things, datacenter, inside(vim.Folder))),
    )


def _host(things: Things, moref: str) -> HostPlace:
    values = things.values[moref]
    state = str(values.get("runtime.connectionState", "connected"))
    reason = ""
    if state != "connected":
        reason = f"it is {'not responding' if state == 'notResponding' else state}"
    elif values.get("runtime.inMaintenanceMode"):
        reason = "it is in maintenance mode"
    networks = sorted(things.name(n._moId) for n in values.get("network") or () if n._moId in things.values)
    parent = values.get("parent")
    return HostPlace(
        things.name(moref), things.name(parent._moId) if parent is not None else "", tuple(networks), reason
    )


def _datastore(things: Things, moref: str, hosts: dict[str, HostPlace]) -> DatastorePlace:
    values = things.values[moref]
    mounting = tuple(
        place.name
        for host, place in hosts.items()
        if not place.reason and moref in {d._moId for d in things.values[host].get("datastore") or ()}
    )
    reason = ""
    if values.get("summary.accessible") is False:
        reason = "it is not accessible now"
    elif not mounting:
        reason = "no host that is up mounts it"
    return DatastorePlace(
        things.name(moref),
        str(values.get("summary.type", "")),
        int(values.get("summary.freeSpace") or 0),
        mounting,
        reason,
    )


def _folders(things: Things, datacenter: str, folders: list[str]) -> list[str]:
    root = things.values[datacenter]["vmFolder"]._moId
    paths = []
    for moref in folders:
        chain = things.upwards(moref)
        if root in chain and moref != root:
            paths.append("/".join(things.name(m) for m in reversed(chain[: chain.index(root)])))
    return sorted(paths, key=str.casefold)
