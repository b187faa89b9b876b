"""A process that backs up one lab machine, stops at a given read and waits to be killed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from vbm.engine.backup import backup_vm
from vbm.engine.run_context import BackupOptions, RunContext
from vbm.objectstore.local import LocalStore
from vbm.progress import Silent
from vbm.repository.keys import NoKey
from vbm.repository.repository import Repository
from vbm.vsphere.inventory import find_vm
from vbm.vsphere.model import Credentials, Endpoint
from vbm.vsphere.session import Session


class Stopping(Silent):
    """Stops the process where it is told to: at a phase, or when so many bytes are done."""

    def __init__(self, phase: str, after_bytes: int) -> None:
        self._phase, self._left = phase, after_bytes

    def phase(self, name: str) -> None:
        if name == self._phase:
            _stop()

    def advance(self, key: int, size_bytes: int) -> None:
        self._left -= size_bytes
        if not self._phase and self._left <= 0:
            _stop()


def _stop() -> None:
    os.write(1, b"stopped\n")
    sys.stdin.read()


def main() -> None:
    given = json.loads(sys.argv[1])
    endpoint = Endpoint("lab", given["host"], given["port"], thumbprint=given["thumbprint"])
    with (
        Session.connect(endpoint, Credentials(given["username"], given["password"])) as session,
        Repository.open(LocalStore(Path(given["repository"])), NoKey()) as repo,
    ):
        context = RunContext.of(Path(given["home"]), progress=Stopping(given["phase"], given["after_bytes"]))
        options = BackupOptions(checkpoint_seconds=0, workers=1)
        backup_vm(session, find_vm(session, given["vm"]), repo, options, context)


if __name__ == "__main__":
    main()
