"""Files straight from an ESXi host, by tickets that vCenter gives: no host password is needed, vCenter carries no data.

A ticket is good for one request of one method and URL. It is worth its price where vCenter is the bottleneck;
this machine must reach port 443 of the hosts.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vbm.vsphere.datastore_path import DatastorePath
from vbm.vsphere.model import VirtualMachine
from vbm.vsphere.properties import properties_of, properties_of_each
from vbm.vsphere.session import Session
from vbm.vsphere.soap import vim
from vbm.vsphere.transports.base import TransportUnsuitableError

_COOKIE: Final = "vmware_cgi_ticket"
_PORT: Final = 443
_METHODS: Final = {"GET": "httpGet", "HEAD": "httpHead"}
_PATHS: Final = (
    "name",
    "runtime.connectionState",
    "runtime.powerState",
    "runtime.inMaintenanceMode",
    "summary.config.sslThumbprint",
    "datastore",
)


@dataclass(frozen=True, slots=True)
class HostAddress:
    """A host as vCenter knows it: by name, and by its certificate's thumbprint."""

    host: str
    port: int
    thumbprint: str


@dataclass(frozen=True, slots=True)
class TicketRoute:
    """A route through one host. Thread-safe; every request costs one call to vCenter."""

    session: Session
    address: HostAddress
    url_host: str = ""  # the host's own name, which tickets are made out to

    @property
    def host(self) -> str:
        return self.address.host

    @property
    def port(self) -> int:
        return self.address.port

    def connection(self) -> http.client.HTTPSConnection:
        return self.session.http_connection(
            self.address.host, self.address.port, thumbprint=self.address.thumbprint
        )

    def request(self, method: str, path: DatastorePath) -> tuple[str, dict[str, str]]:
        url = path.url("")  # a host knows one datacenter only
        spec = vim.SessionManager.HttpServiceRequestSpec(
            method=_METHODS[method], url=f"https://{self.url_host or self.address.host}{url}"
        )
        ticket = self.session.read(lambda c: c.sessionManager.AcquireGenericServiceTicket(spec))
        return url, {"Cookie": f"{_COOKIE}={ticket.id}", "Accept": "*/*", "Connection": "close"}

    def refused(self, headers: dict[str, str]) -> None:
        """The next request has a new ticket anyway."""


def ticket_route(
    session: Session, vm: VirtualMachine, *, addresses: Mapping[str, tuple[str, int]] | None = None
) -> TicketRoute:
    """Through the VM's own host, or another one that is up and sees all of its datastores.

    ``addresses`` replaces names of hosts that can't be resolved here. Raises TransportUnsuitableError.
    """
    reference = session.vm(vm.moref)
    values = properties_of(session, reference, ["runtime.host", "datastore"])
    stores = list(values.get("datastore") or ())
    needed = {store._moId for store in stores}
    mounts = properties_of_each(session, stores, ["host"])
    hosts: dict[str, Any] = {h.key._moId: h.key for m in mounts.values() for h in m.get("host") or ()}
    own = values.get("runtime.host")
    known = properties_of_each(session, list(hosts.values()), _PATHS)
    order = sorted(known, key=lambda moref: own is None or moref != own._moId)
    for moref in order:
        if _fit(known[moref], needed):
            name = known[moref]["name"]
            host, port = (addresses or {}).get(name, (name, _PORT))
            return TicketRoute(
                session, HostAddress(host, port, known[moref]["summary.config.sslThumbprint"]), name
            )
    raise TransportUnsuitableError(f"no host that is up gives out the files of {vm.name}")


def _fit(host: dict[str, Any], needed: set[str]) -> bool:
    """Up, seen by its certificate, and with every datastore mounted."""
    up = str(host.get("runtime.connectionState")) == "connected" and not host.get("runtime.inMaintenanceMode")
    mounted = {store._moId for store in host.get("datastore") or ()}
    return up and needed <= mounted and bool(host.get("summary.config.sslThumbprint"))
