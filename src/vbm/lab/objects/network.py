"""Network: a name that adapters are plugged into."""

from __future__ import annotations

from typing import Any

from vbm.lab.objects.base import prop
from vbm.lab.objects.entity import ManagedEntity
from vbm.lab.tree import wire_name
from vbm.lab.vmodl import reference, vim


class Network(ManagedEntity):
    type_name = "Network"

    @prop("summary")
    def summary(self) -> Any:
        return vim.Network.Summary(
            network=self.ref, name=wire_name(self.name), accessible=True, ipPoolName=""
        )

    @prop("host")
    def host(self) -> Any:
        hosts = self.state.hosts.values()
        return [reference("HostSystem", host.moref) for host in hosts if self.moid in host.networks]

    @prop("vm")
    def vm(self) -> Any:
        return [
            reference("VirtualMachine", machine.moref)
            for machine in [*self.state.machines.values()]
            if any(nic.network == self.moid for nic in machine.config.nics)
        ]
