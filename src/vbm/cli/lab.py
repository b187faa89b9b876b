"""``vbm lab``: a simulated vSphere to try the product on."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from vbm.cli import output
from vbm.cli.groups import examples, group
from vbm.cli.options import Json
from vbm.cli.output import Column
from vbm.errors import InputError
from vbm.lab import control
from vbm.lab.server import LabOptions
from vbm.units import format_size, parse_size

_NOT_SAID: Final = (None, "", 0, 1.0)  # values of a rule that need no column
app = group("Run a simulated vSphere to try the product on: real bytes, snapshots, change tracking, faults.")
State = Annotated[Path, typer.Option("--state", metavar="DIR", help="The lab's folder.")]
Vm = Annotated[str, typer.Option("--vm", metavar="N", help="The machine: name, moref or instance UUID.")]
DiskIndex = Annotated[
    int, typer.Option("--disk", metavar="I", min=0, help="Which of its disks, counted from 0.")
]


@app.command(
    "serve",
    epilog=examples(
        "vbm lab serve --state lab --preset small", "vbm lab serve --state lab --port 8989 --preset awkward"
    ),
)
def serve(
    state: State,
    *,
    host: Annotated[str, typer.Option(metavar="HOST", help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="The port to listen at; 0 takes a free one.")
    ] = 0,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="What a new lab holds: small, chain, awkward, large, huge or empty."
        ),
    ] = None,
    tls: Annotated[bool, typer.Option("--tls/--no-tls", help="Speak HTTPS, as vSphere does.")] = True,
) -> None:
    """Serve a lab until Ctrl-C or SIGTERM.

    When ready one JSON line is printed: url, host, port, username, password and thumbprint. The folder
    keeps all; an existing lab goes on where it was.
    """
    control.serve(state, LabOptions(host=host, port=port, preset=preset, tls=tls))


@app.command(
    "create-vm", epilog=examples("vbm lab create-vm --state lab --name web02 --disk debian.raw --power-on")
)
def create_vm(
    state: State,
    *,
    name: Annotated[str, typer.Option(metavar="N", help="The new machine's name.")],
    disk: Annotated[list[Path], typer.Option(metavar="RAW", help="A raw disk image; may be repeated.")],
    datastore: Annotated[
        str, typer.Option(metavar="DS", help="The datastore; the first one if left out.")
    ] = "",
    snapshots: Annotated[int, typer.Option(min=0, metavar="K", help="So many snapshots it already has.")] = 0,
    power_on: Annotated[bool, typer.Option("--power-on", help="Switch it on.")] = False,
    as_json: Json = False,
) -> None:
    """Make a machine whose disks hold the bytes of raw images."""
    done = control.create_vm(state, name, disk, datastore=datastore, snapshots=snapshots, power_on=power_on)
    _say(done, f"Made {name}.", as_json=as_json)


@app.command(
    "write",
    epilog=examples(
        "vbm lab write --state lab --vm web01 --offset 1MiB --random 64KiB",
        "vbm lab write --state lab --vm web01 --disk 1 --offset 0 --file data.bin",
    ),
)
def write(
    state: State,
    *,
    vm: Vm,
    offset: Annotated[str, typer.Option(metavar="O", help="Where to write, such as 1MiB.")],
    disk: DiskIndex = 0,
    random: Annotated[str | None, typer.Option(metavar="LEN", help="Write so many random bytes.")] = None,
    zero: Annotated[str | None, typer.Option(metavar="LEN", help="Write so many zeros.")] = None,
    file: Annotated[Path | None, typer.Option(metavar="PATH", help="Write a file's content.")] = None,
    as_json: Json = False,
) -> None:
    """Write to a disk as the guest would."""
    if sum(given is not None for given in (random, zero, file)) != 1:
        raise InputError("write what? Give one of --random, --zero and --file")
    if file is not None and not file.is_file():
        raise InputError(f"no such file: {file}")
    done = control.write(
        state,
        vm,
        parse_size(offset),
        disk=disk,
        random=None if random is None else parse_size(random),
        zero=None if zero is None else parse_size(zero),
        file=file,
    )
    _say(done, f"Wrote {format_size(done['length'])} at {offset} of {vm}'s disk {disk}.", as_json=as_json)


@app.command("day", epilog=examples("vbm lab day --state lab --vm web01 --seed 7"))
def day(
    state: State,
    *,
    vm: Vm,
    disk: DiskIndex = 0,
    seed: Annotated[int, typer.Option(metavar="S", help="Another seed is another day.")] = 1,
    size: Annotated[str | None, typer.Option(metavar="SIZE", help="About so much is written.")] = None,
    as_json: Json = False,
) -> None:
    """A day of work in the guest's file system: files made, changed and deleted."""
    done = control.day(state, vm, disk=disk, seed=seed, size_bytes=None if size is None else parse_size(size))
    _say(
        done,
        f"{vm} worked for a day: {done['files_written']} files written, {done['files_deleted']} deleted, "
        f"{format_size(done['bytes_written'])} changed.",
        as_json=as_json,
    )


@app.command("dump", epilog=examples("vbm lab dump --state lab --vm web01 --output now.raw"))
def dump(
    state: State,
    *,
    vm: Vm,
    to: Annotated[Path, typer.Option("--output", "-o", metavar="RAW", help="The raw image to write.")],
    disk: DiskIndex = 0,
    as_json: Json = False,
) -> None:
    """Write what the guest sees now into a sparse raw image."""
    done = control.dump(state, vm, to, disk=disk)
    _say(done, f"Wrote {format_size(done['size_bytes'])} to {to}.", as_json=as_json)


class FaultAction(StrEnum):
    """What to do with fault rules."""

    ADD = "add"
    LIST = "list"
    CLEAR = "clear"


@app.command(
    "fault",
    epilog=examples(
        "vbm lab fault --state lab add RemoveSnapshot_Task fault=TaskInProgress count=3",
        "vbm lab fault --state lab add /folder short count=2 probability=0.5",
        "vbm lab fault --state lab list",
        "vbm lab fault --state lab clear",
    ),
)
def fault(
    action: Annotated[FaultAction, typer.Argument(metavar="ACTION", help="What to do with the rules.")],
    spec: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SPEC",
            help="METHOD-or-path [object=NAME] (fault=TYPE | delay=S | hang | reset | short | status=N) "
            "[count=N] [probability=P]",
        ),
    ] = None,
    *,
    state: State,
    as_json: Json = False,
) -> None:
    """Make the lab fail on demand: a call, a path, a machine; now and then, or so many times."""
    if (action is FaultAction.ADD) != bool(spec):
        raise InputError(
            "add needs a rule, list and clear take none", hint="vbm lab fault --help shows examples"
        )
    done = control.fault(state, action.value, " ".join(spec or ()))
    if as_json:
        output.document(done["rules"])
    elif not done["rules"]:
        output.say("No fault is in force.")
    else:
        _show_rules(done["rules"])


def _show_rules(rules: list[dict[str, Any]]) -> None:
    names = [name for name in rules[0] if any(rule.get(name) not in _NOT_SAID for rule in rules)]
    columns = [Column(name.replace("_", " ").capitalize()) for name in names]
    output.table(columns, [["" if rule.get(n) is None else rule[n] for n in names] for rule in rules])


def _say(done: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        output.document(done)
    else:
        output.result(output.clean(sentence))
