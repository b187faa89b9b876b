"""VirtualMachine: configuration, power, snapshots, changed areas, export."""

from __future__ import annotations

from typing import Any

from vbm.lab.device_view import devices, key_id
from vbm.lab.errors import refusal
from vbm.lab.machine import Machine
from vbm.lab.machine_view import (
    capability,
    change_tracking_supported,
    config_info,
    connection_state,
    datastore_refs,
    guest_info,
    layout_ex,
    runtime_info,
    snapshot_info,
    storage_info,
    summary,
    tools_running_status,
)
from vbm.lab.nfc import start_export
from vbm.lab.objects.base import operation, prop, task_operation
from vbm.lab.objects.entity import ManagedEntity
from vbm.lab.reconfigure import reconfigure
from vbm.lab.soap import Call
from vbm.lab.tasks import Task
from vbm.lab.tree import wire_name
from vbm.lab.vmodl import reference, vim


class VirtualMachine(ManagedEntity):
    type_name = "VirtualMachine"

    def __init__(self, context: Any, machine: Machine) -> None:
        super().__init__(context, machine.moref)
        self.machine = machine

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def also_named(self) -> tuple[str, ...]:
        return (self.machine.instance_uuid,)

    @property
    def revision(self) -> int | None:
        return self.machine.version

    def cacheable(self, path: str) -> bool:
        return path in {"config.hardware.device", "config.hardware", "config.extraConfig"}

    # --- properties: whole ones, and short cuts for what inventories ask of thousands ------------------
    @prop("config")
    def config(self) -> Any:
        return config_info(self.state, self.machine, self.machine.config)

    @prop("config.instanceUuid", "summary.config.instanceUuid")
    def instance_uuid(self) -> str:
        return self.machine.instance_uuid

    @prop("config.uuid", "summary.config.uuid")
    def bios_uuid(self) -> str:
        return self.machine.bios_uuid

    @prop("config.template", "summary.config.template")
    def template(self) -> bool:
        return self.machine.template

    @prop("config.changeTrackingEnabled")
    def change_tracking_enabled(self) -> bool:
        return self.machine.change_tracking_enabled

    @prop("config.name", "summary.config.name")
    def config_name(self) -> str:
        return wire_name(self.machine.name)

    @prop("config.files.vmPathName", "summary.config.vmPathName")
    def vmx_path(self) -> str:
        return self.machine.vmx_path

    @prop("config.version", "summary.config.hwVersion")
    def hardware_version(self) -> str:
        return self.machine.config.hardware_version

    @prop("config.hardware.device")
    def devices(self) -> Any:
        return devices(self.state, self.machine.config)

    @prop("config.keyId")
    def key_id(self) -> Any:
        return key_id(self.machine.config.key_id) if self.machine.config.key_id else None

    @prop("config.guestId", "summary.config.guestId")
    def guest_id(self) -> str:
        return self.machine.config.guest_id

    @prop("config.extraConfig")
    def extra_config(self) -> Any:
        options = self.machine.config.extra_config.items()
        return vim.option.OptionValue.Array(
            [vim.option.OptionValue(key=key, value=text) for key, text in options]
        )

    @prop("guest.toolsRunningStatus")
    def tools_running_status(self) -> str:
        return tools_running_status(self.machine)

    @prop("capability.changeTrackingSupported")
    def change_tracking_supported(self) -> bool:
        return change_tracking_supported(self.machine)

    @prop("runtime")
    def runtime(self) -> Any:
        return runtime_info(self.state, self.machine)

    @prop("runtime.powerState", "summary.runtime.powerState")
    def power_state(self) -> Any:
        return vim.VirtualMachine.PowerState(self.machine.power_state)

    @prop("runtime.connectionState", "summary.runtime.connectionState")
    def connection_state(self) -> Any:
        return vim.VirtualMachine.ConnectionState(connection_state(self.state, self.machine))

    @prop("runtime.consolidationNeeded")
    def consolidation_needed(self) -> bool:
        return self.machine.consolidation_needed

    @prop("runtime.host", "summary.runtime.host")
    def host(self) -> Any:
        return reference("HostSystem", self.machine.host) if self.machine.host else None

    @prop("guest")
    def guest(self) -> Any:
        return guest_info(self.machine)

    @prop("summary")
    def summary(self) -> Any:
        return summary(self.state, self.machine)

    @prop("snapshot")
    def snapshot(self) -> Any:
        return snapshot_info(self.machine)

    @prop("rootSnapshot")
    def root_snapshot(self) -> Any:
        return [reference("VirtualMachineSnapshot", node.moref) for node in self.machine.snapshots]

    @prop("layoutEx")
    def layout_ex(self) -> Any:
        return layout_ex(self.state, self.machine)

    @prop("storage")
    def storage(self) -> Any:
        return storage_info(self.state, self.machine)

    @prop("capability")
    def capability(self) -> Any:
        return capability(self.machine)

    @prop("datastore")
    def datastore(self) -> Any:
        return datastore_refs(self.state, self.machine)

    @prop("network")
    def network(self) -> Any:
        morefs = dict.fromkeys(nic.network for nic in self.machine.config.nics)
        return [reference("Network", moref) for moref in morefs if moref in self.state.networks]

    @prop("resourcePool")
    def resource_pool(self) -> Any:
        pool = self.machine.resource_pool
        return reference("ResourcePool", pool) if pool and not self.machine.template else None

    @prop("guestHeartbeatStatus")
    def heartbeat(self) -> str:
        return "green" if self.machine.power_state == "poweredOn" else "gray"

    @prop("environmentBrowser")
    def environment_browser(self) -> Any:
        return reference("EnvironmentBrowser", f"envbrowser-{self.moid}")

    # --- configuration and power ---------------------------------------------------------------------
    @task_operation("ReconfigVM_Task")
    def reconfig(self, call: Call, task: Task) -> None:  # noqa: ARG002
        self._require_connected()
        reconfigure(self.state, self.machine, call.args.spec)

    @task_operation("PowerOnVM_Task")
    def power_on(self, call: Call, task: Task) -> None:  # noqa: ARG002
        self._require_connected()
        self._refuse_while_leased()
        self.machine.power_on()

    @task_operation("PowerOffVM_Task")
    def power_off(self, call: Call, task: Task) -> None:  # noqa: ARG002
        self._require_connected()
        self.machine.power_off()

    @task_operation("SuspendVM_Task")
    def suspend(self, call: Call, task: Task) -> None:  # noqa: ARG002
        self.machine.suspend()

    @task_operation("ResetVM_Task")
    def reset(self, call: Call, task: Task) -> None:  # noqa: ARG002
        if self.machine.power_state != "poweredOn":
            raise refusal(
                "InvalidPowerState", requestedState="poweredOn", existingState=self.machine.power_state
            )

    @operation("ShutdownGuest")
    def shutdown_guest(self, call: Call) -> None:  # noqa: ARG002
        if not self.machine.tools_running or self.machine.power_state != "poweredOn":
            raise refusal("ToolsUnavailable", "VMware Tools is not running")
        self.machine.power_off()

    @operation("MarkAsTemplate")
    def mark_as_template(self, call: Call) -> None:  # noqa: ARG002
        self.machine.set_template(True)

    @operation("MarkAsVirtualMachine")
    def mark_as_virtual_machine(self, call: Call) -> None:  # noqa: ARG002
        self.machine.set_template(False)

    @task_operation("RelocateVM_Task")
    def relocate(self, call: Call, task: Task) -> None:  # noqa: ARG002
        self._require_connected()
        self._refuse_while_leased()
        spec = call.args.spec
        store = self.state.datastores.get(spec.datastore._moId) if spec.datastore else None
        if spec.datastore and store is None:
            raise refusal("InvalidArgument", "no such datastore", invalidProperty="spec.datastore")
        self.machine.relocate(
            datastore=store.name if store else "",
            host=spec.host._moId if spec.host else "",
            resource_pool=spec.pool._moId if spec.pool else "",
        )

    @task_operation("MigrateVM_Task")
    def migrate(self, call: Call, task: Task) -> None:  # noqa: ARG002
        self._refuse_while_leased()
        self.machine.relocate(host=call.args.host._moId if call.args.host else "")

    @task_operation("Destroy_Task")
    def destroy(self, call: Call, task: Task) -> None:  # noqa: ARG002
        self._refuse_while_leased()
        self.state.destroy(self.moid)

    @operation("UnregisterVM")
    def unregister(self, call: Call) -> None:  # noqa: ARG002
        if self.machine.power_state != "poweredOff":
            raise refusal(
                "InvalidPowerState", requestedState="poweredOff", existingState=self.machine.power_state
            )
        self.state.unregister(self.moid)

    # --- snapshots -----------------------------------------------------------------------------------
    @task_operation("CreateSnapshot_Task")
    def create_snapshot(self, call: Call, task: Task) -> Any:  # noqa: ARG002
        return self._snapshot(call, quiesce=bool(call.args.quiesce))

    @task_operation("CreateSnapshotEx_Task")
    def create_snapshot_ex(self, call: Call, task: Task) -> Any:  # noqa: ARG002
        return self._snapshot(call, quiesce=call.args.quiesceSpec is not None)

    def _snapshot(self, call: Call, *, quiesce: bool) -> Any:
        self._require_connected()
        args = call.args
        node = self.machine.take_snapshot(
            args.name, args.description or "", memory=bool(args.memory), quiesce=quiesce
        )
        return reference("VirtualMachineSnapshot", node.moref)

    @task_operation("RemoveAllSnapshots_Task")
    def remove_all_snapshots(self, call: Call, task: Task) -> None:
        self._require_connected()
        for node in [*self.machine.snapshots]:
            self.machine.remove_snapshot(
                node.moref,
                remove_children=True,
                consolidate=call.args.consolidate is not False,
                progress=self._progress(task),
            )

    @task_operation("RevertToCurrentSnapshot_Task")
    def revert_to_current(self, call: Call, task: Task) -> None:  # noqa: ARG002
        self._require_connected()
        self.machine.revert()
        self.context.record_event("VmRevertedToSnapshotEvent", self.machine)

    @task_operation("ConsolidateVMDisks_Task")
    def consolidate(self, call: Call, task: Task) -> None:  # noqa: ARG002
        self._require_connected()
        rate = int(task.effects.get("rate", 0))
        self.machine.consolidate(self._progress(task), bytes_per_second=rate)

    def _progress(self, task: Task) -> Any:
        def report(percent: int) -> None:
            task.progress = percent
            self.context.changes.notify()

        return report

    # --- data ------------------------------------------------------------------------------------------
    @operation("QueryChangedDiskAreas")
    def query_changed_disk_areas(self, call: Call) -> Any:
        self._require_connected()
        args = call.args
        snapshot = args.snapshot._moId if args.snapshot else None
        info = self.machine.changed_areas(snapshot, args.deviceKey, args.startOffset, args.changeId)
        self.context.log(
            "changed-areas",
            machine=self.name,
            key=args.deviceKey,
            start=args.startOffset,
            change_id=args.changeId,
            areas=len(info.areas),
        )
        extent = vim.VirtualMachine.DiskChangeInfo.DiskChangeExtent
        return vim.VirtualMachine.DiskChangeInfo(
            startOffset=info.start,
            length=info.length,
            changedArea=[extent(start=area.start, length=area.length) for area in info.areas],
        )

    @operation("ExportVm")
    def export_vm(self, call: Call) -> Any:
        self._require_connected()
        if self.machine.power_state != "poweredOff":
            raise refusal(
                "InvalidPowerState", requestedState="poweredOff", existingState=self.machine.power_state
            )
        return reference("HttpNfcLease", start_export(self.context, call, self.machine, None).moid)

    def _require_connected(self) -> None:
        state = connection_state(self.state, self.machine)
        if state == "disconnected":
            raise refusal("HostNotConnected")
        if state != "connected":
            raise refusal("InvalidState", f"the machine is {state}")

    def _refuse_while_leased(self) -> None:
        if self.context.leases.holds(self.moid):
            raise refusal("TaskInProgress", "an export of the machine is in progress")
