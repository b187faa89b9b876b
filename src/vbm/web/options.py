"""How the web is served, read once from the environment."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vbm.errors import InputError
from vbm.web.rate_limits import Limits

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_SHORTEST_TOKEN: Final = 16


@dataclass(frozen=True, slots=True)
class WebOptions:
    """``https``: cookies travel over TLS only. ``proxies``: whose ``X-Forwarded-*`` is believed.

    ``metrics_networks``: who may read the metrics without a token. ``hosts``: names under which it answers; none
    named: any.
    """

    https: bool = False
    proxies: tuple[Network, ...] = ()
    allow_loopback: bool = False
    metrics_token: str = field(default="", repr=False)
    metrics_networks: tuple[Network, ...] = ()
    limits: Limits = field(default_factory=Limits)
    hosts: frozenset[str] = frozenset()

    @classmethod
    def from_environment(cls, *, https: bool, environment: Mapping[str, str] = os.environ) -> WebOptions:
        """``VBM_TRUSTED_PROXIES`` and ``VBM_METRICS_NETWORKS`` (networks, commas), ``VBM_ALLOWED_HOSTS`` (names,
        commas), ``VBM_BEHIND_TLS``, ``VBM_ALLOW_LOOPBACK``, ``VBM_METRICS_TOKEN``, ``VBM_API_…``. Raises InputError.
        """
        token = environment.get("VBM_METRICS_TOKEN", "").strip()
        if token and len(token) < _SHORTEST_TOKEN:
            raise InputError(
                f"VBM_METRICS_TOKEN has {len(token)} characters",
                hint=f"use {_SHORTEST_TOKEN} at least: openssl rand -hex 32",
            )
        return cls(
            https=https or environment.get("VBM_BEHIND_TLS") == "1",
            proxies=_networks(environment, "VBM_TRUSTED_PROXIES"),
            allow_loopback=environment.get("VBM_ALLOW_LOOPBACK") == "1",
            metrics_token=token,
            metrics_networks=_networks(environment, "VBM_METRICS_NETWORKS"),
            limits=Limits.from_environment(environment),
            hosts=frozenset(_listed(environment, "VBM_ALLOWED_HOSTS")),
        )

    def trusts(self, address: str) -> bool:
        return _within(address, self.proxies)

    def may_scrape(self, address: str) -> bool:
        """Whether the metrics are open to that address without a token."""
        return _within(address, self.metrics_networks)


def _networks(environment: Mapping[str, str], variable: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(name) for name in _listed(environment, variable))
    except ValueError as error:
        raise InputError(f"{variable}: {error}", hint="write 10.0.0.5 or 10.0.0.0/24") from error


def _listed(environment: Mapping[str, str], variable: str) -> list[str]:
    names = (part.strip().lower() for part in environment.get(variable, "").split(","))
    return [name for name in names if name]


def _within(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in networks)
