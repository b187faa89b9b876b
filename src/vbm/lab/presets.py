"""Ready-made labs."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING

from vbm.errors import InputError
from vbm.lab.model import Cluster, Datacenter, Folder, Host, Network, ResourcePool

if TYPE_CHECKING:
    from vbm.lab.state import LabState

Preset = Callable[["LabState"], None]


def find(name: str) -> Preset:
    """Raises InputError naming what there is."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(PRESETS)}"
        raise InputError(f"no preset {name!r}", hint=hint)
    return PRESETS[name]


def lay_out(state: LabState) -> None:
    """What every lab has: a datacenter, a cluster of two hosts, two networks, a VMFS datastore."""
    state.inventory.root_folder = "group-d1"
    for moref, name, parent, kind in (
        ("group-d1", "Datacenters", "", "root"),
        ("group-v3", "vm", "datacenter-2", "vm"),
        ("group-h4", "host", "datacenter-2", "host"),
        ("group-s5", "datastore", "datacenter-2", "datastore"),
        ("group-n6", "network", "datacenter-2", "network"),
    ):
        state.inventory.add(Folder(moref, name, parent, kind))
    state.inventory.add(
        Datacenter("datacenter-2", "DC1", "group-d1", "group-v3", "group-h4", "group-s5", "group-n6")
    )
    state.inventory.add(Cluster("domain-c7", "Cluster1", "group-h4", "resgroup-8"))
    state.inventory.add(ResourcePool("resgroup-8", "Resources", "domain-c7", "domain-c7"))
    networks = ["network-12", "network-13"]
    state.inventory.add(Network("network-12", "VM Network", "group-n6"))
    state.inventory.add(Network("network-13", "Backup Network", "group-n6"))
    state.inventory.add(Host("host-9", "esx01.lab.local", "domain-c7", networks=networks))
    state.inventory.add(Host("host-10", "esx02.lab.local", "domain-c7", networks=list(networks)))
    state.mount_datastore("datastore1", "VMFS")


def empty(state: LabState) -> None:
    """No machine at all."""


PRESETS: dict[str, Preset] = {"empty": empty}
