"""SearchIndex: one object by uuid, path, name or file."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from vbm.lab.objects.base import ManagedObject, operation
from vbm.lab.soap import Call
from vbm.lab.tree import children_of, name_of, ref_of
from vbm.lab.vmodl import reference, type_name


class SearchIndex(ManagedObject):
    type_name = "SearchIndex"

    def _machines(self, datacenter: Any) -> list[Any]:
        state = self.context.state
        machines = [*state.machines.values()]
        if datacenter is None:
            return machines
        return [m for m in machines if state.datacenter_of(m.moref).moref == datacenter._moId]

    @operation("FindByUuid")
    def find_by_uuid(self, call: Call) -> Any:
        found = self._by_uuid(call)
        return found[0] if found else None

    @operation("FindAllByUuid")
    def find_all_by_uuid(self, call: Call) -> Any:
        return self._by_uuid(call)

    def _by_uuid(self, call: Call) -> list[Any]:
        args = call.args
        if not args.vmSearch:
            return []
        wanted = args.uuid.casefold()
        return [
            reference("VirtualMachine", machine.moref)
            for machine in self._machines(args.datacenter)
            if (machine.instance_uuid if args.instanceUuid else machine.bios_uuid).casefold() == wanted
        ]

    @operation("FindByDatastorePath")
    def find_by_datastore_path(self, call: Call) -> Any:
        for machine in self._machines(call.args.datacenter):
            if machine.vmx_path == call.args.path:
                return reference("VirtualMachine", machine.moref)
        return None

    @operation("FindByDnsName")
    def find_by_dns_name(self, call: Call) -> Any:
        for machine in self._machines(call.args.datacenter) if call.args.vmSearch else []:
            if machine.name.casefold() == call.args.dnsName.casefold():
                return reference("VirtualMachine", machine.moref)
        return None

    @operation("FindChild")
    def find_child(self, call: Call) -> Any:
        return self._child(call.args.entity, call.args.name)

    def _child(self, parent: Any, name: str) -> Any:
        state = self.context.state
        wanted = unquote(name)
        children = children_of(state, parent)
        if type_name(parent) == "ClusterComputeResource":
            pools = [child for child in children if type_name(child) == "ResourcePool"]
            children = [*pools, *(child for child in children if child not in pools)]
        return next((ref for ref in children if name_of(state, ref._moId) == wanted), None)

    @operation("FindByInventoryPath")
    def find_by_inventory_path(self, call: Call) -> Any:
        ref = ref_of(self.context.state, self.context.state.root_folder)
        for part in call.args.inventoryPath.strip("/").split("/"):
            if part and ref is not None:
                ref = self._child(ref, part)
        return ref
