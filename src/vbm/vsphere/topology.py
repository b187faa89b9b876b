"""Where things lie: names and parents of folders, datacenters, hosts, pools and datastores."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from vbm.vsphere.properties import collect, properties_of_each
from vbm.vsphere.session import Session

_ESCAPE: Final = re.compile(r"%(25|2f|5c)", re.IGNORECASE)
_DEEPEST: Final = 64


def unescape(name: str) -> str:
    """A name as people write it: vSphere stores ``%``, ``/`` and ``\\`` as ``%25``, ``%2f`` and ``%5c``."""
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)), name)


@dataclass(frozen=True, slots=True)
class Place:
    """One inventory object: ``name`` as the server stores it, escapes kept."""

    kind: str  # Folder, Datacenter, HostSystem, ResourcePool, Datastore, …
    name: str
    parent: str  # moref, "" at the top
    detail: str = ""  # a datastore's type: VMFS, NFS, NFS41, vsan, VVOL, …


class Topology:
    """An immutable picture of the inventory tree without its VMs. Thread-safe."""

    def __init__(self, places: dict[str, Place]) -> None:
        self._places = places

    @classmethod
    def read(cls, session: Session) -> Topology:
        named = ["name", "parent"]
        wanted = dict.fromkeys(
            ("Folder", "Datacenter", "ComputeResource", "HostSystem", "ResourcePool"), named
        )
        wanted["Datastore"] = [*named, "summary.type"]
        root = session.read(lambda c: c.rootFolder._moId)
        places = {root: Place("Folder", "", "")}
        for reference, values in collect(session, wanted):
            parent = values.get("parent")
            places[reference._moId] = Place(
                kind=type(reference).__name__.rsplit(".", 1)[-1],
                name=values.get("name", ""),
                parent=parent._moId if parent is not None else "",
                detail=values.get("summary.type", ""),
            )
        return cls(places)

    @classmethod
    def of_datastores(cls, session: Session, devices: Iterable[Any]) -> Topology:
        """Only the datastores that these devices lie on: enough to describe a snapshot's disks."""
        backings = (getattr(device, "backing", None) for device in devices)
        found = {d._moId: d for b in backings if (d := getattr(b, "datastore", None)) is not None}
        values = properties_of_each(session, list(found.values()), ["name", "summary.type"])
        return cls(
            {
                moref: Place("Datastore", v.get("name", ""), "", v.get("summary.type", ""))
                for moref, v in values.items()
            }
        )

    def name(self, reference: Any) -> str:
        """The readable name of a reference or moref; the moref itself where it is unknown; "" for None."""
        if reference is None:
            return ""
        moref = _moref(reference)
        place = self._places.get(moref)
        return unescape(place.name) if place else moref

    def datastore_type(self, reference: Any) -> str:
        place = self._places.get(_moref(reference))
        return place.detail if place else ""

    def datastore_named(self, name: str, datacenter: str) -> str:
        """The moref of a datastore by readable name, in that datacenter; "" where there is none."""
        for moref, place in self._places.items():
            if (
                place.kind == "Datastore"
                and unescape(place.name) == name
                and self.datacenter(moref) == datacenter
            ):
                return moref
        return ""

    def folder(self, parent: Any) -> str:
        """The readable folder path below the datacenter's ``vm`` folder; "" at its root."""
        chain = self._up_to_datacenter(_moref(parent))
        return "/".join(unescape(p.name) for p in reversed(chain[:-1]))

    def datacenter(self, inside: Any) -> str:
        """The inventory path of the datacenter around an object, escapes kept: what ``dcPath`` wants."""
        path: list[str] = []
        for place in self._upwards(_moref(inside)):
            if path or place.kind == "Datacenter":
                path.append(place.name)
        return "/".join(reversed([name for name in path if name]))

    def datacenter_moref(self, inside: Any) -> str:
        moref = _moref(inside)
        for _ in range(_DEEPEST):
            place = self._places.get(moref)
            if place is None or place.kind == "Datacenter":
                return moref if place else ""
            moref = place.parent
        return ""

    def cluster(self, host: Any) -> str:
        """The readable name of the cluster (or the lone host's compute resource) that a host belongs to."""
        place = self._places.get(_moref(host))
        return self.name(place.parent) if place and place.parent else ""

    def pool_path(self, pool: Any) -> str:
        """``cluster/Resources/pool`` of a resource pool."""
        names = []
        for place in self._upwards(_moref(pool)):
            if place.kind in ("Folder", "Datacenter"):
                break
            names.append(unescape(place.name))
        return "/".join(reversed(names))

    def _up_to_datacenter(self, moref: str) -> list[Place]:
        chain = []
        for place in self._upwards(moref):
            if place.kind == "Datacenter":
                break
            chain.append(place)
        return chain

    def _upwards(self, moref: str) -> list[Place]:
        chain: list[Place] = []
        while moref in self._places and len(chain) < _DEEPEST:
            chain.append(self._places[moref])
            moref = chain[-1].parent
        return chain


def _moref(reference: Any) -> str:
    if reference is None:
        return ""
    return reference if isinstance(reference, str) else str(reference._moId)
