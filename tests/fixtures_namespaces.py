"""Hosts of one's own on this machine: network namespaces on one bridge, made and removed by the test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

_NET = "10.213.77"


class Hosts:
    """``address`` is of this side of the bridge: what listens there is reached from every host."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.address = f"{_NET}.1"

    def prefix(self, name: str) -> list[str]:
        """What runs a command on that host."""
        return ["ip", "netns", "exec", f"vbm-{name}"]

    def up(self) -> None:
        _ip("link", "add", "vbmbr0", "type", "bridge")
        _ip("addr", "add", f"{self.address}/24", "dev", "vbmbr0")
        _ip("link", "set", "vbmbr0", "up")
        for number, name in enumerate(self.names):
            space, outer, inner = f"vbm-{name}", f"vbmo{number}", f"vbmi{number}"
            _ip("netns", "add", space)
            _ip("link", "add", outer, "type", "veth", "peer", "name", inner)
            _ip("link", "set", inner, "netns", space)
            _ip("link", "set", outer, "master", "vbmbr0", "up")
            _ip("-n", space, "addr", "add", f"{_NET}.{number + 10}/24", "dev", inner)
            _ip("-n", space, "link", "set", inner, "up")
            _ip("-n", space, "link", "set", "lo", "up")

    def down(self) -> None:
        for name in self.names:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", f"vbm-{name}")
        with suppress(subprocess.CalledProcessError):
            _ip("link", "del", "vbmbr0")

    def cut(self) -> None:
        """No packet passes any more; connections hang."""
        _ip("link", "set", "vbmbr0", "down")

    def mend(self) -> None:
        _ip("link", "set", "vbmbr0", "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def hosts(*names: str) -> Iterator[Hosts]:
    """So many hosts; skips where namespaces can't be made."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    made = Hosts(list(names))
    made.down()
    try:
        made.up()
    except subprocess.CalledProcessError as error:
        made.down()
        pytest.skip(f"network namespaces can't be made here: {error.stderr.decode(errors='replace').strip()}")
    try:
        yield made
    finally:
        made.down()
