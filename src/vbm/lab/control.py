"""The subcommands of ``vbm lab`` as functions: each works on a served lab through its socket, or opens the state.

All answer plain JSON values and raise VbmError subclasses (the command line's exit codes follow from them).
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vbm.errors import InputError, Kind, NotFoundError, VbmError
from vbm.lab import commands
from vbm.lab.control_socket import ask
from vbm.lab.model import LabFault
from vbm.lab.server import LabOptions
from vbm.lab.server import serve as _serve


class LabRefusedError(VbmError):
    """The lab refuses, as vSphere would: the power state, a full datastore, a name that is taken."""

    code = "lab-refused"


def serve(state: Path, options: LabOptions | None = None) -> None:
    """Serves until SIGTERM or SIGINT; prints one JSON line when ready."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())  # no lock in a handler

    def ready(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    _serve(state, options, ready=ready, stop=stop)


def create_vm(
    state: Path,
    name: str,
    disks: Sequence[Path],
    *,
    datastore: str = "",
    snapshots: int = 0,
    power_on: bool = False,
) -> dict[str, Any]:
    """A machine with these raw images as its disks: its name, moref and instance uuid."""
    return _run(
        state,
        "create-vm",
        name=name,
        disks=[str(path.absolute()) for path in disks],
        datastore=datastore,
        snapshots=snapshots,
        power_on=power_on,
    )


def write(
    state: Path,
    vm: str,
    offset: int,
    *,
    disk: int = 0,
    random: int | None = None,
    zero: int | None = None,
    file: Path | None = None,
) -> dict[str, Any]:
    """The guest writes ``random`` random bytes, ``zero`` zeros or a file's content at an offset."""
    path = str(file.absolute()) if file else None
    return _run(state, "write", vm=vm, disk=disk, offset=offset, random=random, zero=zero, file=path)


def day(
    state: Path, vm: str, *, disk: int = 0, seed: int = 1, size_bytes: int | None = None
) -> dict[str, Any]:
    """A day of work in the guest's file system: what was done."""
    return _run(state, "day", vm=vm, disk=disk, seed=seed, size_bytes=size_bytes)


def dump(state: Path, vm: str, output: Path, *, disk: int = 0) -> dict[str, Any]:
    """What the guest sees now, as a raw image."""
    return _run(state, "dump", vm=vm, disk=disk, output=str(output.absolute()))


def power(state: Path, vm: str, *, on: bool) -> dict[str, Any]:
    return _run(state, "power", vm=vm, on=on)


def list_vms(state: Path) -> dict[str, Any]:
    return _run(state, "list")


def fault(state: Path, action: str, spec: str = "") -> dict[str, Any]:
    """``add`` a rule, ``list`` them, ``clear`` them; answers the rules that are in force then."""
    return _run(state, "fault", action=action, spec=spec)


_KINDS: dict[str, type[VbmError]] = {Kind.INPUT.name: InputError, Kind.NOT_FOUND.name: NotFoundError}


def _run(directory: Path, command: str, **arguments: Any) -> dict[str, Any]:
    if not directory.is_dir():
        raise NotFoundError(f"no lab in {directory}", hint="start one: vbm lab serve --state DIR")
    try:
        reply = ask(directory / "control.sock", command, arguments)
    except OSError:
        return _run_here(directory, command, arguments)
    if "error" in reply:
        error = reply["error"]
        raise _KINDS.get(error["kind"], LabRefusedError)(error["message"], hint=error["hint"])
    result: dict[str, Any] = reply["result"]
    return result


def _run_here(directory: Path, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    if command == "fault":
        return commands.fault(directory, arguments)
    try:
        with commands.own_state(directory) as state:
            return commands.run(state, command, arguments)
    except LabFault as error:
        raise LabRefusedError(str(error)) from error
