"""Which VMs a selection means now: the vCenter is asked in batches, whatever their number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vbm.catalog.catalog import Catalog
from vbm.catalog.vm_places import folders_of, put_folders
from vbm.ids import MoRef
from vbm.policy.selection import Candidate, Selection, select
from vbm.vsphere import inventory, labels
from vbm.vsphere.model import VirtualMachine
from vbm.vsphere.session import Session


@dataclass(frozen=True, slots=True)
class Resolved:
    """``unmatched``: the rules that no VM answers to."""

    vms: tuple[VirtualMachine, ...]
    unmatched: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Labels:
    """Tags and custom attributes of VMs, by reference; only of VMs that have any."""

    tags: Mapping[MoRef, frozenset[str]] = field(default_factory=dict)
    attributes: Mapping[MoRef, Mapping[str, str]] = field(default_factory=dict)


def look_up(session: Session, selection: Selection) -> Resolved:
    """Ask for what the selection needs, no more. Templates and cluster service VMs are never selected.

    Raises the errors of the session, and TagsUnavailableError where tags are needed and not to be had: a job must
    not run over fewer VMs than it should.
    """
    machines = list(inventory.list_vms(session))
    return pick(machines, selection, labels_for(session, machines, [selection]))


def note_folders(catalog: Catalog, vcenter_id: str, machines: Iterable[VirtualMachine]) -> None:
    """Write down where these VMs lie. Two of one UUID lie nowhere: whose it is nobody can tell."""
    now: dict[str, str | None] = {}
    for vm in machines:
        now[vm.instance_uuid] = None if vm.instance_uuid in now else vm.folder
    with catalog.reading() as session:
        known = folders_of(session, vcenter_id)
    changed = {uuid: folder for uuid, folder in now.items() if known.get(uuid) != folder}
    if changed:
        with catalog.writing() as session:
            put_folders(session, vcenter_id, changed)


def labels_for(
    session: Session, machines: Sequence[VirtualMachine], selections: Iterable[Selection]
) -> Labels:
    """What these selections ask of the VMs. Raises TagsUnavailableError."""
    parts = [part for one in selections for part in (one, one.exclude) if part is not None]
    attributes = labels.custom_attributes(session) if any(part.attributes for part in parts) else {}
    tags = labels.tags(session, [vm.moref for vm in machines]) if any(part.tags for part in parts) else {}
    return Labels(tags, attributes)


def pick(machines: Iterable[VirtualMachine], selection: Selection, known: Labels) -> Resolved:
    """The VMs of an inventory that a selection means."""
    offered = list(candidates_of(machines, known))
    by_candidate = {id(candidate): vm for candidate, vm in offered}
    selected = select((candidate for candidate, _ in offered), selection)
    return Resolved(tuple(by_candidate[id(each)] for each in selected.vms), selected.unmatched)


def candidates_of(
    machines: Iterable[VirtualMachine], known: Labels
) -> Iterator[tuple[Candidate, VirtualMachine]]:
    """Those that a selection may mean, as it looks at them."""
    for vm in machines:
        if not vm.template and not vm.name.startswith("vCLS-"):
            tags, attributes = known.tags.get(vm.moref, frozenset()), known.attributes.get(vm.moref, {})
            yield Candidate(vm.name, vm.instance_uuid, vm.folder, vm.resource_pool, tags, attributes), vm
