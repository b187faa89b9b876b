"""VirtualMachineSnapshot: a machine's configuration and disks as they were."""

from __future__ import annotations

from typing import Any

from vbm.lab.machine import Machine
from vbm.lab.machine_view import config_info
from vbm.lab.model import SnapshotNode
from vbm.lab.nfc import start_export
from vbm.lab.objects.base import ManagedObject, operation, prop, task_operation
from vbm.lab.soap import Call
from vbm.lab.tasks import Task
from vbm.lab.vmodl import reference


class VirtualMachineSnapshot(ManagedObject):
    type_name = "VirtualMachineSnapshot"

    def __init__(self, context: Any, machine: Machine, node: SnapshotNode) -> None:
        super().__init__(context, node.moref)
        self.machine = machine
        self.node = node

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def also_named(self) -> tuple[str, ...]:
        return (self.node.name, self.machine.moref)

    @prop("config")
    def config(self) -> Any:
        return config_info(self.context.state, self.machine, self.node.config)

    @prop("childSnapshot")
    def child_snapshot(self) -> Any:
        return [reference(self.type_name, child.moref) for child in self.node.children]

    @prop("vm")
    def vm(self) -> Any:
        return reference("VirtualMachine", self.machine.moref)

    @prop("value", "availableField")
    def custom_value(self) -> Any:
        return []

    @task_operation("RemoveSnapshot_Task")
    def remove(self, call: Call, task: Task) -> None:
        def report(percent: int) -> None:
            task.progress = percent
            self.context.changes.notify()

        self.machine.remove_snapshot(
            self.moid,
            remove_children=bool(call.args.removeChildren),
            consolidate=call.args.consolidate is not False,
            progress=report,
            fail_consolidation="leave-consolidation" in task.effects,
            bytes_per_second=int(task.effects.get("rate", 0)),
        )

    @task_operation("RevertToSnapshot_Task")
    def revert(self, call: Call, task: Task) -> None:  # noqa: ARG002
        self.machine.revert(self.moid)
        self.context.record_event("VmRevertedToSnapshotEvent", self.machine)

    @operation("RenameSnapshot")
    def rename(self, call: Call) -> None:
        self.machine.rename_snapshot(self.moid, call.args.name or None, call.args.description)

    @operation("ExportSnapshot")
    def export_snapshot(self, call: Call) -> Any:
        return reference("HttpNfcLease", start_export(self.context, call, self.machine, self.node).moid)
