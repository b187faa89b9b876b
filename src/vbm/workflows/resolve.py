"""Which VMs a selection means now: the vCenter is asked in batches, whatever their number."""

from __future__ import annotations

from dataclasses import dataclass

from vbm.policy.selection import Candidate, Selection, select
from vbm.vsphere import inventory, labels
from vbm.vsphere.model import VirtualMachine
from vbm.vsphere.session import Session


@dataclass(frozen=True, slots=True)
class Resolved:
    """``unmatched``: the rules that no VM answers to."""

    vms: tuple[VirtualMachine, ...]
    unmatched: tuple[str, ...]


def look_up(session: Session, selection: Selection) -> Resolved:
    """Ask for what the selection needs, no more. Templates and cluster service VMs are never selected.

    Raises the errors of the session, and TagsUnavailableError where tags are needed and not to be had: a job must
    not run over fewer VMs than it should.
    """
    found = inventory.list_vms(session)
    machines = [vm for vm in found if not vm.template and not vm.name.startswith("vCLS-")]
    parts = [selection, selection.exclude] if selection.exclude else [selection]
    attributes = labels.custom_attributes(session) if any(part.attributes for part in parts) else {}
    tags = labels.tags(session, [vm.moref for vm in machines]) if any(part.tags for part in parts) else {}
    by_candidate = {
        id(candidate): (candidate, vm)
        for vm in machines
        for candidate in [
            Candidate(
                vm.name,
                vm.instance_uuid,
                vm.folder,
                vm.resource_pool,
                tags.get(vm.moref, frozenset()),
                attributes.get(vm.moref, {}),
            )
        ]
    }
    selected = select((candidate for candidate, _ in by_candidate.values()), selection)
    return Resolved(tuple(by_candidate[id(each)][1] for each in selected.vms), selected.unmatched)
