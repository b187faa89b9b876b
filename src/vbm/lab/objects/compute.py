"""ClusterComputeResource and ResourcePool: where machines run."""

from __future__ import annotations

from typing import Any

from vbm.lab.errors import refusal
from vbm.lab.machine_spec import machine_spec
from vbm.lab.nfc import start_import
from vbm.lab.objects.base import operation, prop, task_operation
from vbm.lab.objects.entity import ManagedEntity
from vbm.lab.soap import Call
from vbm.lab.tasks import Task
from vbm.lab.tree import hosts_of, machines_where
from vbm.lab.vmodl import reference, vim


class ClusterComputeResource(ManagedEntity):
    type_name = "ClusterComputeResource"

    @property
    def _hosts(self) -> list[str]:
        return hosts_of(self.state, self.moid)

    @prop("resourcePool")
    def resource_pool(self) -> Any:
        return reference("ResourcePool", self.state.clusters[self.moid].resource_pool)

    @prop("host")
    def host(self) -> Any:
        return [reference("HostSystem", moref) for moref in self._hosts]

    @prop("datastore")
    def datastore(self) -> Any:
        names = {name for moref in self._hosts for name in self.state.hosts[moref].datastores}
        return [
            reference("Datastore", moref) for moref, ds in self.state.datastores.items() if ds.name in names
        ]

    @prop("network")
    def network(self) -> Any:
        mine = {moref for host in self._hosts for moref in self.state.hosts[host].networks}
        return [reference("Network", moref) for moref in self.state.networks if moref in mine]

    @prop("environmentBrowser")
    def environment_browser(self) -> Any:
        return reference("EnvironmentBrowser", f"envbrowser-{self.moid}")

    @prop("summary")
    def summary(self) -> Any:
        count = len(self._hosts)
        return vim.ClusterComputeResource.Summary(
            totalCpu=20_000 * count,
            totalMemory=(64 << 30) * count,
            numCpuCores=8 * count,
            numCpuThreads=16 * count,
            effectiveCpu=20_000 * count,
            effectiveMemory=65_536 * count,
            numHosts=count,
            numEffectiveHosts=count,
            overallStatus="green",
            currentFailoverLevel=0,
            numVmotions=0,
        )

    @prop("configurationEx")
    def configuration_ex(self) -> Any:
        return vim.cluster.ConfigInfoEx(
            dasConfig=vim.cluster.DasConfigInfo(enabled=False),
            drsConfig=vim.cluster.DrsConfigInfo(
                enabled=True, defaultVmBehavior="fullyAutomated", vmotionRate=3
            ),
        )


class ResourcePool(ManagedEntity):
    type_name = "ResourcePool"

    @prop("owner")
    def owner(self) -> Any:
        return reference("ClusterComputeResource", self.state.pools[self.moid].owner)

    @prop("resourcePool")
    def resource_pool(self) -> Any:
        pools = self.state.pools.values()
        return [reference("ResourcePool", pool.moref) for pool in pools if pool.parent == self.moid]

    @prop("vm")
    def vm(self) -> Any:
        return [
            reference("VirtualMachine", moref)
            for moref in machines_where(self.state, resource_pool=self.moid)
        ]

    @prop("runtime")
    def runtime(self) -> Any:
        usage = vim.ResourcePool.ResourceUsage(maxUsage=20_000)
        return vim.ResourcePool.RuntimeInfo(memory=usage, cpu=usage, overallStatus="green")

    @prop("config")
    def config(self) -> Any:
        allocation = vim.ResourceAllocationInfo(
            reservation=0,
            expandableReservation=True,
            limit=-1,
            shares=vim.SharesInfo(shares=4000, level="normal"),
        )
        return vim.ResourceConfigSpec(entity=self.ref, cpuAllocation=allocation, memoryAllocation=allocation)

    @prop("summary")
    def summary(self) -> Any:
        return vim.ResourcePool.Summary(name=self.name, config=self.config(), runtime=self.runtime())

    @task_operation("CreateChildVM_Task")
    def create_child_vm(self, call: Call, task: Task) -> Any:  # noqa: ARG002
        spec = machine_spec(self.state, call.args.config, folder="", pool=self.ref, host=call.args.host)
        return reference("VirtualMachine", self.state.create_machine(spec).moref)

    @operation("ImportVApp")
    def import_vapp(self, call: Call) -> Any:
        if not isinstance(call.args.spec, vim.vm.VmImportSpec):
            raise refusal("NotSupported", "only single machines can be imported", invalidProperty="spec")
        lease = start_import(self.context, call, self.ref)
        return reference("HttpNfcLease", lease.moid)
