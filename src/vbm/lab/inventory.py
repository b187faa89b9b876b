"""The tree that machines hang in: folders, datacenters, clusters, pools, hosts, networks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from vbm.lab.model import Cluster, Datacenter, Folder, Host, LabFault, Network, ResourcePool

Entity = Folder | Datacenter | Cluster | ResourcePool | Host | Network
_KINDS: Final[dict[str, type[Any]]] = {
    "folders": Folder,
    "datacenters": Datacenter,
    "clusters": Cluster,
    "pools": ResourcePool,
    "hosts": Host,
    "networks": Network,
}


class Inventory:
    """Not thread-safe by itself: the state serialises changes and replaces no dictionary."""

    def __init__(self) -> None:
        self.root_folder = ""
        self.folders: dict[str, Folder] = {}
        self.datacenters: dict[str, Datacenter] = {}
        self.clusters: dict[str, Cluster] = {}
        self.pools: dict[str, ResourcePool] = {}
        self.hosts: dict[str, Host] = {}
        self.networks: dict[str, Network] = {}

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {"root_folder": self.root_folder}
        for name in _KINDS:
            document[name] = [asdict(each) for each in getattr(self, name).values()]
        return document

    def load(self, document: dict[str, Any]) -> None:
        self.root_folder = document["root_folder"]
        for name, kind in _KINDS.items():
            getattr(self, name).update({each["moref"]: kind(**each) for each in document[name]})

    def add(self, entity: Entity) -> None:
        for name, kind in _KINDS.items():
            if isinstance(entity, kind):
                getattr(self, name)[entity.moref] = entity

    def find(self, moref: str) -> Entity | None:
        for name in _KINDS:
            found: Entity | None = getattr(self, name).get(moref)
            if found is not None:
                return found
        return None

    def remove(self, moref: str) -> None:
        for name in _KINDS:
            getattr(self, name).pop(moref, None)

    def children(self, moref: str) -> list[str]:
        """What has it as its parent, machines and datastores apart; a datacenter's own folders too."""
        return [
            each.moref
            for name in _KINDS
            for each in list(getattr(self, name).values())
            if each.parent == moref and each.moref != moref
        ]


def escaped(name: str) -> str:
    """A name as vCenter keeps it: ``%``, ``/`` and ``\\`` are written ``%25``, ``%2f`` and ``%5c``."""
    return name.replace("%", "%25").replace("/", "%2f").replace("\\", "%5c")


def check_entity_name(name: str) -> None:
    """Raises LabFault InvalidName: empty, or over 80 characters as escaped."""
    if not name.strip() or len(escaped(name)) > 80:
        raise LabFault("InvalidName", f"not a name: {name!r}", properties={"name": name})
