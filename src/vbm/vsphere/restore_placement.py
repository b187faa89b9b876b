"""Where a restored VM goes: datacenter, folder, pool, host, datastore and networks that exist and go together.

Everything is looked up before anything is made, so that a wrong name costs nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vbm.vsphere import soap
from vbm.vsphere.properties import collect, properties_of, properties_of_each
from vbm.vsphere.restore_spec import LEAVE_OUT, NameTakenError, PlacementError, RestoreSpec
from vbm.vsphere.session import Session
from vbm.vsphere.soap import vim
from vbm.vsphere.topology import unescape

_WANTED: Final = {
    "Datacenter": ("name", "parent", "vmFolder"),
    "Folder": ("name", "parent"),
    "ComputeResource": ("name", "parent", "resourcePool", "host"),
    "ResourcePool": ("name", "parent"),
    "HostSystem": (
        "name",
        "parent",
        "runtime.connectionState",
        "runtime.inMaintenanceMode",
        "datastore",
        "network",
    ),
    "Datastore": ("name", "parent", "summary.accessible", "summary.freeSpace", "summary.type"),
    "Network": ("name", "parent"),
}


@dataclass(frozen=True, slots=True)
class Placement:
    """References of one session. ``networks``: adapter key → network reference, None where it is left out."""

    datacenter: Any
    datacenter_path: str
    folder: Any
    pool: Any
    host: Any
    datastore: Any
    datastore_name: str
    datastore_type: str
    free_bytes: int
    networks: Mapping[int, Any]
    notes: tuple[str, ...]


class Things:
    """The inventory without its VMs, by moref."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.references: dict[str, Any] = {}
        self.values: dict[str, dict[str, Any]] = {}
        for reference, values in collect(session, _WANTED):
            self.references[reference._moId] = reference
            self.values[reference._moId] = values

    def of(self, kind: Any) -> list[str]:
        return [moref for moref, reference in self.references.items() if isinstance(reference, kind)]

    def name(self, moref: str) -> str:
        return unescape(self.values.get(moref, {}).get("name", ""))

    def upwards(self, moref: str) -> list[str]:
        """The thing and what it is in, the root last."""
        chain: list[str] = []
        while moref in self.values and moref not in chain:
            chain.append(moref)
            parent = self.values[moref].get("parent")
            moref = parent._moId if parent is not None else ""
        return chain

    def datacenter(self, moref: str) -> str:
        return next((m for m in self.upwards(moref) if isinstance(self.references[m], vim.Datacenter)), "")

    def path(self, moref: str, below: type | tuple[type, ...]) -> str:
        """Readable names up to, not including, the first thing of that kind."""
        names: list[str] = []
        for each in self.upwards(moref):
            if isinstance(self.references[each], below):
                break
            names.append(self.name(each))
        return "/".join(reversed(names))

    def stored_path(self, datacenter: str) -> str:
        """A datacenter's inventory path with escapes kept, without the root folder."""
        chain = self.upwards(datacenter)
        if isinstance(self.references[chain[-1]], vim.Folder) and len(chain) > 1:
            chain = chain[:-1] if "parent" not in self.values[chain[-1]] else chain
        return "/".join(self.values[m].get("name", "") for m in reversed(chain))


def place(session: Session, document: Mapping[str, Any], spec: RestoreSpec, *, own: str = "") -> Placement:
    """Raises PlacementError, naming what there is, and NameTakenError, except for ``own``, which has the name."""
    things = Things(session)
    was: Mapping[str, Any] = document.get("placement") or {}
    notes: list[str] = []
    datacenter = _datacenter(things, spec, was)
    datastore = _datastore(things, spec, was, datacenter, document)
    host, pool = _host_and_pool(things, spec, was, datacenter, datastore)
    folder = _folder(things, spec, was, datacenter, notes)
    _refuse_taken(session, folder, spec, own)
    values = things.values[datastore]
    return Placement(
        datacenter=things.references[datacenter],
        datacenter_path=things.stored_path(datacenter),
        folder=folder,
        pool=things.references[pool],
        host=things.references[host],
        datastore=things.references[datastore],
        datastore_name=things.name(datastore),
        datastore_type=values.get("summary.type", ""),
        free_bytes=int(values.get("summary.freeSpace") or 0),
        networks=_networks(things, spec, document, host),
        notes=tuple(notes),
    )


def wire_name(name: str) -> str:
    """A name as vSphere stores it."""
    return name.replace("%", "%25").replace("/", "%2f").replace("\\", "%5c")


def _datacenter(things: Things, spec: RestoreSpec, was: Mapping[str, Any]) -> str:
    known = {things.stored_path(m): m for m in things.of(vim.Datacenter)}
    readable = {unescape(path): moref for path, moref in known.items()}
    if spec.datacenter:
        found = readable.get(spec.datacenter.strip("/")) or known.get(spec.datacenter)
        if found is None:
            raise _unknown("datacenter", spec.datacenter, readable)
        return found
    captured = known.get(str(was.get("datacenter", "")))
    if captured is not None:
        return captured
    if len(known) == 1:
        return next(iter(known.values()))
    raise PlacementError(
        f"the datacenter {was.get('datacenter')!r} is not there, and there are {len(known)} others",
        hint=f"name one: {', '.join(readable)}",
    )


def _datastore(
    things: Things, spec: RestoreSpec, was: Mapping[str, Any], datacenter: str, document: Mapping[str, Any]
) -> str:
    here = {things.name(m): m for m in things.of(vim.Datastore) if things.datacenter(m) == datacenter}
    if spec.datastore:
        if spec.datastore not in here:
            raise _unknown("datastore", spec.datastore, here)
        found = here[spec.datastore]
        if things.values[found].get("summary.accessible") is False:
            raise PlacementError(f"the datastore {spec.datastore} is not accessible now")
        return found
    first = next((d.get("datastore") for d in document.get("disks") or ()), "")
    for name in (str(was.get("vmx_path", "")).partition("]")[0].lstrip("["), first):
        if name in here and things.values[here[name]].get("summary.accessible") is not False:
            return here[name]
    if len(here) == 1:
        return next(iter(here.values()))
    raise PlacementError(
        f"the datastore {first!r} of the backup is not there", hint=f"name one: {', '.join(sorted(here))}"
    )


def _host_and_pool(
    things: Things, spec: RestoreSpec, was: Mapping[str, Any], datacenter: str, datastore: str
) -> tuple[str, str]:
    """A host that is up and sees the datastore, and a pool of its cluster."""
    fit = [
        m
        for m in things.of(vim.HostSystem)
        if things.datacenter(m) == datacenter and _fits(things, m, datastore)
    ]
    by_name = {things.name(m): m for m in fit}
    if spec.host and spec.host not in by_name:
        raise _unknown(f"host that is up and sees {things.name(datastore)} called", spec.host, by_name)
    pool = _pool(things, spec.resource_pool, datacenter) or _captured_pool(things, spec, was, datacenter)
    if pool and not spec.host:
        owner = _owner(things, pool)
        inside = [m for m in fit if owner in things.upwards(m)]
        if inside:
            host = by_name.get(str(was.get("host")), inside[0])
            return host if host in inside else inside[0], pool
        if spec.resource_pool:
            raise PlacementError(
                f"no host of {spec.resource_pool} is up and sees the datastore {things.name(datastore)}"
            )
    host = by_name.get(spec.host or str(was.get("host"))) or (fit[0] if fit else "")
    if not host:
        raise PlacementError(f"no host is up and sees the datastore {things.name(datastore)}")
    owner = _owner(things, host)
    if pool and _owner(things, pool) == owner:
        return host, pool
    if spec.resource_pool:
        raise PlacementError(f"the host {spec.host} is not in {spec.resource_pool}")
    return host, things.values[owner]["resourcePool"]._moId


def _fits(things: Things, host: str, datastore: str) -> bool:
    values = things.values[host]
    up = str(values.get("runtime.connectionState", "connected")) == "connected"
    mounted = datastore in {d._moId for d in values.get("datastore") or ()}
    return up and mounted and not values.get("runtime.inMaintenanceMode")


def _owner(things: Things, inside: str) -> str:
    return next(m for m in things.upwards(inside) if isinstance(things.references[m], vim.ComputeResource))


def _pools(things: Things, datacenter: str) -> dict[str, str]:
    """``cluster/Resources/pool`` → moref; a cluster's bare name for its root pool."""
    found: dict[str, str] = {}
    for moref in things.of(vim.ResourcePool):
        if things.datacenter(moref) == datacenter:
            found[things.path(moref, (vim.Folder, vim.Datacenter))] = moref
    for moref in things.of(vim.ComputeResource):
        if things.datacenter(moref) == datacenter and "resourcePool" in things.values[moref]:
            found[things.name(moref)] = things.values[moref]["resourcePool"]._moId
    return found


def _pool(things: Things, wanted: str, datacenter: str) -> str:
    if not wanted:
        return ""
    pools = _pools(things, datacenter)
    if wanted.strip("/") not in pools:
        raise _unknown("resource pool", wanted, pools)
    return pools[wanted.strip("/")]


def _captured_pool(things: Things, spec: RestoreSpec, was: Mapping[str, Any], datacenter: str) -> str:
    if spec.host:
        return ""
    pools = _pools(things, datacenter)
    return pools.get(str(was.get("pool_path"))) or pools.get(str(was.get("cluster"))) or ""


def _folder(
    things: Things, spec: RestoreSpec, was: Mapping[str, Any], datacenter: str, notes: list[str]
) -> Any:
    root = things.values[datacenter]["vmFolder"]
    below: dict[str, str] = {}
    for moref in things.of(vim.Folder):
        chain = things.upwards(moref)
        if root._moId in chain:
            inside = chain[: chain.index(root._moId)]
            below["/".join(things.name(m) for m in reversed(inside))] = moref
    below[""] = root._moId
    wanted = spec.folder.strip("/")
    if wanted:
        if wanted not in below:
            raise _unknown("folder", wanted, below)
        return things.references.get(below[wanted], root)
    captured = str(was.get("folder", ""))
    if captured not in below:
        notes.append(f"the folder {captured!r} is not there: the VM goes into the datacenter's VM folder")
    return things.references.get(below.get(captured, root._moId), root)


def _refuse_taken(session: Session, folder: Any, spec: RestoreSpec, own: str) -> None:
    child = session.read(lambda c: c.searchIndex.FindChild(folder, wire_name(spec.name)))
    if child is not None and child._moId != own:
        raise NameTakenError(
            f"there is already {spec.name!r} ({child._moId}) in that folder",
            hint="restore under another name or into another folder; nothing was changed",
        )


def _networks(things: Things, spec: RestoreSpec, document: Mapping[str, Any], host: str) -> dict[int, Any]:
    seen = [n._moId for n in things.values[host].get("network") or ()]
    here = {things.name(moref): things.references[moref] for moref in seen if moref in things.references}
    chosen: dict[int, Any] = {}
    for nic in document.get("nics") or ():
        wanted = spec.network_map.get(nic.get("network", ""), nic.get("network", ""))
        if wanted == LEAVE_OUT:
            chosen[nic["key"]] = None
        elif wanted in here:
            chosen[nic["key"]] = here[wanted]
        else:
            raise PlacementError(
                f"{nic.get('label') or 'a network adapter'}: no network {wanted!r} at the host {things.name(host)}",
                hint=f"map it to one of: {', '.join(sorted(here))}; or to {LEAVE_OUT} to leave the adapter out",
            )
    return chosen


def _unknown(what: str, name: str, known: Iterable[str]) -> PlacementError:
    names = sorted(n for n in known if n)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are: {', '.join(names[:20])}"
    return PlacementError(f"no {what} {name!r}", hint=hint)


def network_backing(session: Session, network: Any) -> Any:
    """The backing of an adapter at that network, standard or distributed."""
    card = vim.vm.device.VirtualEthernetCard
    if soap.type_name(network) == "DistributedVirtualPortgroup":
        values = properties_of(session, network, ["key", "config.distributedVirtualSwitch"])
        switch = values.get("config.distributedVirtualSwitch")
        uuid = properties_of(session, switch, ["uuid"]).get("uuid") if switch is not None else None
        port = vim.dvs.PortConnection(switchUuid=uuid, portgroupKey=values.get("key") or network._moId)
        return card.DistributedVirtualPortBackingInfo(port=port)
    name = properties_of_each(session, [network], ["name"])[network._moId].get("name", "")
    return card.NetworkBackingInfo(network=network, deviceName=name)
