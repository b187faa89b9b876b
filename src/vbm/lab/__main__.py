"""``python -m vbm.lab``: the lab's commands without the product around them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from vbm.allocator import keep_buffers
from vbm.errors import VbmError
from vbm.lab import control
from vbm.lab.server import LabOptions
from vbm.units import parse_size


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vbm.lab")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve")
    serve.add_argument("--port", type=int, default=0)
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--preset")
    serve.add_argument("--no-tls", action="store_true")
    create = commands.add_parser("create-vm")
    create.add_argument("--name", required=True)
    create.add_argument("--disk", action="append", required=True, type=Path)
    create.add_argument("--datastore", default="")
    create.add_argument("--snapshots", type=int, default=0)
    create.add_argument("--power-on", action="store_true")
    write = commands.add_parser("write")
    write.add_argument("--vm", required=True)
    write.add_argument("--disk", type=int, default=0)
    write.add_argument("--offset", required=True)
    what = write.add_mutually_exclusive_group(required=True)
    what.add_argument("--random")
    what.add_argument("--zero")
    what.add_argument("--file", type=Path)
    day = commands.add_parser("day")
    day.add_argument("--vm", required=True)
    day.add_argument("--disk", type=int, default=0)
    day.add_argument("--seed", type=int, default=1)
    dump = commands.add_parser("dump")
    dump.add_argument("--vm", required=True)
    dump.add_argument("--disk", type=int, default=0)
    dump.add_argument("--output", required=True, type=Path)
    fault = commands.add_parser("fault")
    fault.add_argument("action", choices=["add", "list", "clear"])
    fault.add_argument("spec", nargs="*")
    for each in commands.choices.values():
        each.add_argument("--state", required=True, type=Path)
    return parser


def _run(given: argparse.Namespace) -> dict[str, object] | None:
    state: Path = given.state
    match given.command:
        case "serve":
            options = LabOptions(host=given.host, port=given.port, preset=given.preset, tls=not given.no_tls)
            control.serve(state, options)
            return None
        case "create-vm":
            return control.create_vm(
                state,
                given.name,
                given.disk,
                datastore=given.datastore,
                snapshots=given.snapshots,
                power_on=given.power_on,
            )
        case "write":
            return control.write(
                state,
                given.vm,
                parse_size(given.offset),
                disk=given.disk,
                random=parse_size(given.random) if given.random else None,
                zero=parse_size(given.zero) if given.zero else None,
                file=given.file,
            )
        case "day":
            return control.day(state, given.vm, disk=given.disk, seed=given.seed)
        case "dump":
            return control.dump(state, given.vm, given.output, disk=given.disk)
        case _:
            return control.fault(state, given.action, " ".join(given.spec))


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    keep_buffers()
    try:
        result = _run(given)
    except VbmError as error:
        sys.stderr.write(f"error: {error.message}\n{error.hint}\n")
        return error.exit_code
    if result is not None:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
