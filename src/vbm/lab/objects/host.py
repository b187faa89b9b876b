"""HostSystem, its datastore system and its configuration manager: as much as backup and restore ask of them."""

from __future__ import annotations

from typing import Any

from vbm.lab.errors import refusal
from vbm.lab.objects.base import ManagedObject, operation, prop
from vbm.lab.objects.entity import ManagedEntity
from vbm.lab.soap import Call
from vbm.lab.tree import machines_where
from vbm.lab.vmodl import reference, vim


class HostSystem(ManagedEntity):
    type_name = "HostSystem"

    @property
    def record(self) -> Any:
        return self.state.hosts[self.moid]

    @prop("runtime")
    def runtime(self) -> Any:
        return vim.host.RuntimeInfo(
            connectionState=self.record.connection_state,
            powerState="poweredOn",
            inMaintenanceMode=self.record.in_maintenance,
        )

    @prop("vm")
    def vm(self) -> Any:
        return [reference("VirtualMachine", moref) for moref in machines_where(self.state, host=self.moid)]

    @prop("datastore")
    def datastore(self) -> Any:
        names = set(self.record.datastores)
        return [
            reference("Datastore", moref) for moref, ds in self.state.datastores.items() if ds.name in names
        ]

    @prop("network")
    def network(self) -> Any:
        return [reference("Network", moref) for moref in self.record.networks]

    @prop("datastoreBrowser")
    def datastore_browser(self) -> Any:
        return reference("HostDatastoreBrowser", f"datastoreBrowser-{self.moid}")

    @prop("configManager")
    def config_manager(self) -> Any:
        return vim.host.ConfigManager(
            datastoreSystem=reference("HostDatastoreSystem", f"datastoreSystem-{self.moid}")
        )

    @prop("config.product", "summary.config.product")
    def product(self) -> Any:
        about = self.state.about
        return vim.AboutInfo(
            name="VMware ESXi",
            fullName=f"VMware ESXi {about.version} build-{about.build}",
            vendor="VMware, Inc.",
            version=about.version,
            build=about.build,
            osType="vmnix-x86",
            productLineId="embeddedEsx",
            apiType="HostAgent",
            apiVersion=about.api_version,
        )

    @prop("hardware")
    def hardware(self) -> Any:
        return None

    @prop("summary")
    def summary(self) -> Any:
        return vim.host.Summary(
            host=self.ref,
            hardware=vim.host.Summary.HardwareSummary(
                vendor="Lab",
                model="Embedded",
                uuid="00000000-0000-0000-0000-000000000000",
                memorySize=64 << 30,
                cpuModel="virtual",
                cpuMhz=2500,
                numCpuPkgs=1,
                numCpuCores=8,
                numCpuThreads=16,
                numNics=1,
                numHBAs=1,
            ),
            runtime=self.runtime(),
            config=vim.host.Summary.ConfigSummary(
                name=self.record.name,
                port=443,
                sslThumbprint=self.context.sha1_thumbprint(),
                product=self.product(),
                vmotionEnabled=True,
            ),
            quickStats=vim.host.Summary.QuickStats(overallCpuUsage=100, overallMemoryUsage=1024),
            overallStatus="green",
            rebootRequired=False,
        )


class HostDatastoreSystem(ManagedObject):
    """Mounts and unmounts datastores of one host; its id ends in the host's."""

    type_name = "HostDatastoreSystem"

    @property
    def host(self) -> Any:
        return self.context.state.hosts[self.moid.removeprefix("datastoreSystem-")]

    @prop("datastore")
    def datastore(self) -> Any:
        stores = self.context.state.datastores.items()
        return [reference("Datastore", moref) for moref, ds in stores if ds.name in self.host.datastores]

    @operation("CreateNasDatastore")
    def create_nas_datastore(self, call: Call) -> Any:
        spec = call.args.spec
        kind = "NFS41" if (spec.type or "NFS").upper() == "NFS41" else "NFS"
        state = self.context.state
        remote = f"{spec.remoteHost}:{spec.remotePath}"
        known = next((ds for ds in state.datastores.values() if ds.name == spec.localPath), None)
        if known is not None:
            name = "DuplicateName" if known.remote != remote or self._mounted(known) else ""
            if name:
                raise refusal(
                    name, f"{spec.localPath} is there already", name=spec.localPath, object=self._ref(known)
                )
        store = known or state.mount_datastore(spec.localPath, kind, hosts=(self.host.moref,), remote=remote)
        if store.name not in self.host.datastores:
            self.host.datastores = [*self.host.datastores, store.name]
        state.touch(self.host.moref)
        return self._ref(store)

    def _mounted(self, store: Any) -> bool:
        return store.name in self.host.datastores

    def _ref(self, store: Any) -> Any:
        return reference("Datastore", store.moref)

    @operation("RemoveDatastore")
    def remove_datastore(self, call: Call) -> None:
        state = self.context.state
        store = state.datastores.get(call.args.datastore._moId)
        if store is None:
            raise refusal("NotFound", "no such datastore")
        others = [h for h in state.hosts.values() if store.name in h.datastores and h is not self.host]
        if not others:
            state.unmount_datastore(store.name)
        self.host.datastores = [name for name in self.host.datastores if name != store.name]
        state.touch(self.host.moref)
