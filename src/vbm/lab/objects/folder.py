"""Folder: the tree, and the making and registering of machines in it."""

from __future__ import annotations

from typing import Any

from vbm.lab.errors import refusal
from vbm.lab.machine_spec import machine_spec
from vbm.lab.objects.base import operation, prop, task_operation
from vbm.lab.objects.entity import ManagedEntity
from vbm.lab.soap import Call
from vbm.lab.tasks import Task
from vbm.lab.tree import children_of
from vbm.lab.vmodl import reference, support, vim

_KINDS = {
    "root": ("Folder", "Datacenter"),
    "vm": ("Folder", "VirtualMachine", "VirtualApp"),
    "host": ("Folder", "ComputeResource"),
    "datastore": ("Folder", "Datastore", "StoragePod"),
    "network": ("Folder", "Network", "DistributedVirtualSwitch"),
}


class Folder(ManagedEntity):
    type_name = "Folder"

    @prop("childEntity")
    def child_entity(self) -> Any:
        return children_of(self.state, self.ref)

    @prop("childType")
    def child_type(self) -> Any:
        names = _KINDS.get(self.state.folders[self.moid].kind, ("Folder",))
        return [support.GetWsdlType("urn:vim25", name) for name in names]

    @prop("namespace")
    def namespace(self) -> None:
        return None

    @operation("CreateFolder")
    def create_folder(self, call: Call) -> Any:
        return reference("Folder", self.state.create_folder(self.moid, call.args.name).moref)

    @task_operation("CreateVM_Task")
    def create_vm(self, call: Call, task: Task) -> Any:  # noqa: ARG002
        self._require_kind("vm")
        spec = machine_spec(
            self.state, call.args.config, folder=self.moid, pool=call.args.pool, host=call.args.host
        )
        return reference("VirtualMachine", self.state.create_machine(spec).moref)

    @task_operation("RegisterVM_Task")
    def register_vm(self, call: Call, task: Task) -> Any:  # noqa: ARG002
        self._require_kind("vm")
        args = call.args
        if not args.asTemplate and args.pool is None:
            raise refusal("InvalidArgument", "a machine needs a resource pool", invalidProperty="pool")
        machine = self.state.register_machine(
            args.path,
            args.name or "",
            folder=self.moid,
            host=args.host._moId if args.host else "",
            resource_pool=args.pool._moId if args.pool else "",
            template=bool(args.asTemplate),
        )
        return reference("VirtualMachine", machine.moref)

    @task_operation("MoveIntoFolder_Task")
    def move_into_folder(self, call: Call, task: Task) -> None:  # noqa: ARG002
        for ref in call.args.list:
            self.state.move_into(self.moid, ref._moId)

    @task_operation("Destroy_Task")
    def destroy(self, call: Call, task: Task) -> None:  # noqa: ARG002
        self.state.remove_folder(self.moid)

    def _require_kind(self, kind: str) -> None:
        if self.state.folders[self.moid].kind != kind:
            raise refusal("NotSupported", f"folder {self.name} holds no machines")


class Datacenter(ManagedEntity):
    type_name = "Datacenter"

    @property
    def record(self) -> Any:
        return self.state.datacenters[self.moid]

    @prop("vmFolder")
    def vm_folder(self) -> Any:
        return reference("Folder", self.record.vm_folder)

    @prop("hostFolder")
    def host_folder(self) -> Any:
        return reference("Folder", self.record.host_folder)

    @prop("datastoreFolder")
    def datastore_folder(self) -> Any:
        return reference("Folder", self.record.datastore_folder)

    @prop("networkFolder")
    def network_folder(self) -> Any:
        return reference("Folder", self.record.network_folder)

    @prop("datastore")
    def datastore(self) -> Any:
        return [reference("Datastore", moref) for moref in self.state.datastores if self._mine(moref)]

    @prop("network")
    def network(self) -> Any:
        return [reference("Network", moref) for moref in self.state.networks if self._mine(moref)]

    def _mine(self, moref: str) -> bool:
        return bool(self.state.datacenter_of(moref).moref == self.moid)

    @prop("configuration")
    def configuration(self) -> Any:
        return vim.Datacenter.ConfigInfo(defaultHardwareVersionKey="vmx-19")

    @task_operation("PowerOnMultiVM_Task")
    def power_on_multi(self, call: Call, task: Task) -> Any:  # noqa: ARG002
        """Powers each on; what fails is told per machine and does not fail the others."""
        attempted = []
        failed = []
        for ref in call.args.vm:
            try:
                self.state.machine(ref._moId).power_on()
                attempted.append(ref)
            except Exception as error:  # noqa: BLE001 - each machine's own result
                failed.append((ref, error))
        if failed and not attempted:
            raise failed[0][1]
        return vim.cluster.PowerOnVmResult(
            attempted=[vim.cluster.AttemptedVmInfo(vm=ref) for ref in attempted],
        )
