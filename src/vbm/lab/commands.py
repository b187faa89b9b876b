"""What ``vbm lab …`` does to a lab, whether in the process that serves it or in one of its own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vbm.errors import InputError
from vbm.lab import guest
from vbm.lab.faults import Rules
from vbm.lab.machine import Machine
from vbm.lab.state import LabState

if TYPE_CHECKING:
    from vbm.lab.server import Lab

Command = Callable[[LabState, dict[str, Any]], dict[str, Any]]
_PIECE_BYTES: Final = 1 << 20


def run(state: LabState, command: str, arguments: dict[str, Any], lab: Lab | None = None) -> dict[str, Any]:
    """The result of one command, as plain JSON values. Raises VbmError or LabFault."""
    if command == "fault":
        return _fault(state, arguments, lab)
    if command not in COMMANDS:
        raise InputError(f"no such lab command: {command!r}")
    return COMMANDS[command](state, arguments)


def _create_vm(state: LabState, arguments: dict[str, Any]) -> dict[str, Any]:
    images = [Path(text) for text in arguments["disks"]]
    for image in images:
        if not image.is_file():
            raise InputError(f"no such disk image: {image}")
    machine = guest.create_vm_from_raw(
        state,
        arguments["name"],
        images,
        datastore=arguments.get("datastore") or "",
        snapshots=int(arguments.get("snapshots") or 0),
        power_on=bool(arguments.get("power_on")),
    )
    return {"name": machine.name, "moref": machine.moref, "instance_uuid": machine.instance_uuid}


def _write(state: LabState, arguments: dict[str, Any]) -> dict[str, Any]:
    machine = state.find_machine(arguments["vm"])
    disk = _disk_index(machine, arguments)
    offset = int(arguments["offset"])
    chosen = [name for name in ("random", "zero", "file") if arguments.get(name) is not None]
    if len(chosen) != 1:
        raise InputError("write exactly one of: random bytes, zeros, a file")
    written = 0
    with machine.quiet():
        if chosen == ["zero"]:
            written = int(arguments["zero"])
            _within(machine, disk, offset, written)
            machine.guest_zero(disk, offset, written)
        else:
            length = (
                int(arguments["random"]) if chosen == ["random"] else Path(arguments["file"]).stat().st_size
            )
            _within(machine, disk, offset, length)
            for piece in _random(length) if chosen == ["random"] else _file(Path(arguments["file"])):
                machine.guest_write(disk, offset + written, piece)
                written += len(piece)
    return {"vm": machine.name, "disk": disk, "offset": offset, "length": written}


def _random(length: int) -> Iterator[bytes]:
    while length:
        piece = secrets.token_bytes(min(length, _PIECE_BYTES))
        length -= len(piece)
        yield piece


def _file(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _within(machine: Machine, disk: int, offset: int, length: int) -> None:
    capacity = machine.disks[disk].capacity_bytes
    if offset < 0 or length <= 0 or offset + length > capacity:
        raise InputError(f"[{offset}, {offset + length}) is not within the disk's {capacity} bytes")


def _disk_index(machine: Machine, arguments: dict[str, Any]) -> int:
    index = int(arguments.get("disk") or 0)
    if not 0 <= index < len(machine.disks):
        raise InputError(
            f"{machine.name} has no disk {index}", hint=f"it has {len(machine.disks)}, counted from 0"
        )
    return index


def _day(state: LabState, arguments: dict[str, Any]) -> dict[str, Any]:
    machine = state.find_machine(arguments["vm"])
    sizes = {"size_bytes": int(arguments["size_bytes"])} if arguments.get("size_bytes") else {}
    report = guest.day(machine, _disk_index(machine, arguments), int(arguments.get("seed") or 1), **sizes)
    return {"vm": machine.name, **asdict(report)}


def _dump(state: LabState, arguments: dict[str, Any]) -> dict[str, Any]:
    machine = state.find_machine(arguments["vm"])
    disk = _disk_index(machine, arguments)
    output = Path(arguments["output"])
    guest.dump(machine, disk, output)
    return {"vm": machine.name, "disk": disk, "output": str(output), "size_bytes": output.stat().st_size}


def _power(state: LabState, arguments: dict[str, Any]) -> dict[str, Any]:
    machine = state.find_machine(arguments["vm"])
    (machine.power_on if arguments["on"] else machine.power_off)()
    return {"vm": machine.name, "power_state": machine.power_state}


def _list(state: LabState, arguments: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - one shape for all
    machines = [
        {"name": m.name, "moref": m.moref, "instance_uuid": m.instance_uuid, "power_state": m.power_state}
        for m in [*state.machines.values()]
    ]
    return {"machines": machines}


COMMANDS: Final[dict[str, Command]] = {
    "create-vm": _create_vm,
    "write": _write,
    "day": _day,
    "dump": _dump,
    "power": _power,
    "list": _list,
}


def _fault(state: LabState, arguments: dict[str, Any], lab: Lab | None) -> dict[str, Any]:
    return fault(state.directory, arguments, lab)


def fault(directory: Path, arguments: dict[str, Any], lab: Lab | None = None) -> dict[str, Any]:
    """``add``, ``list`` or ``clear``; without a server only what goes into the file works, which ``now`` does not."""
    rules = lab.rules if lab else Rules(directory / "faults.json")
    action = arguments["action"]
    if action == "clear":
        rules.clear()
    elif action == "add":
        spec = arguments["spec"]
        if lab is None and spec.split()[:1] == ["now"]:
            raise InputError("only a running lab can act now", hint="start vbm lab serve")
        if lab is not None:
            lab.fault(spec)
        else:
            rules.add(spec)
    elif action != "list":
        raise InputError(f"no such action: {action!r}", hint="add, list or clear")
    return {
        "rules": [
            {key: value for key, value in asdict(rule).items() if key != "draws"} for rule in rules.list()
        ]
    }


@contextmanager
def own_state(directory: Path) -> Iterator[LabState]:
    """The lab of a folder that nobody serves."""
    state = LabState.open(directory)
    try:
        yield state
    finally:
        state.close()
