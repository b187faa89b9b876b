"""What somebody is limited to: whole vCenters, and folders of VMs in them. What is not known to lie within is not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from vbm.policy.folders import lies_in
from vbm.policy.selection import Selection


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A vCenter, by id; with ``folder`` only what lies in and below that folder of it, in whichever datacenter."""

    vcenter_id: str
    folder: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """``ID`` or ``ID/PATH``, as ``str`` writes it: ids hold no slash."""
        vcenter_id, _, folder = text.partition("/")
        return cls(vcenter_id, folder)

    def __str__(self) -> str:
        return f"{self.vcenter_id}/{self.folder}" if self.folder else self.vcenter_id

    def holds(self, other: Place) -> bool:
        """Whether all of the other place lies within this one."""
        return self.vcenter_id == other.vcenter_id and (not self.folder or lies_in(other.folder, self.folder))


def without_repeats(places: Iterable[Place]) -> list[Place]:
    """Those that no other one holds, in order; of several that mean the same, one. Never none of some."""
    kept: list[Place] = []
    for one in sorted(places):
        if not any(other.holds(one) for other in kept):
            kept = [*(other for other in kept if not one.holds(other)), one]
    return kept


def whole_vcenters(texts: Iterable[str]) -> list[str]:
    """Of places as they are stored: the ids of the vCenters that are meant whole."""
    return [place.vcenter_id for place in map(Place.parse, texts) if not place.folder]


def folders_within(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Of places as they are stored: (the vCenter's id, path) of each folder."""
    return [(place.vcenter_id, place.folder) for place in map(Place.parse, texts) if place.folder]


_NOWHERE: Final = Place("")  # no vCenter has that id


@dataclass(frozen=True, slots=True)
class Scope:
    """Several places; none: everything."""

    places: frozenset[Place] = frozenset()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """Of places as they are stored."""
        return cls(frozenset(map(Place.parse, texts)))

    @property
    def everything(self) -> bool:
        return not self.places

    @property
    def vcenters(self) -> frozenset[str]:
        """Those of which it has at least a part; of no use where it is everything."""
        return frozenset(place.vcenter_id for place in self.places)

    def sees(self, vcenter_id: str) -> bool:
        """Whether at least a part of that vCenter lies within."""
        return self.everything or vcenter_id in self.vcenters

    def has_all_of(self, vcenter_id: str) -> bool:
        return self.covers(vcenter_id, None)

    def covers(self, vcenter_id: str, folder: str | None) -> bool:
        """Whether a VM in that folder lies within. None: nobody knows its folder, so only a whole vCenter has it."""
        if self.everything:
            return True
        if folder is None:
            return Place(vcenter_id) in self.places
        return any(place.holds(Place(vcenter_id, folder)) for place in self.places)

    def covers_selection(self, vcenter_id: str, selection: Selection) -> bool:
        """Whether it can never mean a VM outside: of a vCenter that is not whole only rules by folder can't."""
        if self.has_all_of(vcenter_id):
            return True
        by_more = selection.vms or selection.tags or selection.resource_pools or selection.attributes
        folders = selection.folders
        return bool(folders) and not by_more and all(self.covers(vcenter_id, folder) for folder in folders)

    def narrowed(self, other: Scope) -> Scope:
        """What lies within both; where that is nothing, a scope that has nothing."""
        if self.everything or other.everything:
            return Scope(self.places | other.places)
        both = {one for one in self.places if any(place.holds(one) for place in other.places)}
        both |= {one for one in other.places if any(place.holds(one) for place in self.places)}
        return Scope(frozenset(both or {_NOWHERE}))


EVERYWHERE: Final = Scope()
