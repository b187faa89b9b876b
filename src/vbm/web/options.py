"""How the web is served, read once from the environment."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from vbm.errors import InputError
from vbm.web.rate_limits import Limits

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class WebOptions:
    """``https``: cookies travel over TLS only. ``proxies``: whose ``X-Forwarded-*`` is believed."""

    https: bool = False
    proxies: tuple[Network, ...] = ()
    allow_loopback: bool = False
    metrics_token: str = ""
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def from_environment(cls, *, https: bool, environment: Mapping[str, str] = os.environ) -> WebOptions:
        """``VBM_TRUSTED_PROXIES`` (networks, commas), ``VBM_ALLOW_LOOPBACK``, ``VBM_METRICS_TOKEN``, ``VBM_API_…``."""
        names = [part.strip() for part in environment.get("VBM_TRUSTED_PROXIES", "").split(",")]
        try:
            proxies = tuple(ipaddress.ip_network(name) for name in names if name)
        except ValueError as error:
            raise InputError(f"VBM_TRUSTED_PROXIES: {error}", hint="write 10.0.0.5 or 10.0.0.0/24") from error
        return cls(
            https=https or environment.get("VBM_BEHIND_TLS") == "1",
            proxies=proxies,
            allow_loopback=environment.get("VBM_ALLOW_LOOPBACK") == "1",
            metrics_token=environment.get("VBM_METRICS_TOKEN", ""),
            limits=Limits.from_environment(environment),
        )

    def trusts(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self.proxies)
