"""How the result of a verification is shown; damage ends with exit code 5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import typer
from rich.text import Text

from vbm.cli import output
from vbm.cli.output import Column
from vbm.errors import Kind
from vbm.units import format_size

_SHOWN: Final = ("good", "restore_points", "chunks_checked", "bytes_checked")
_OF_DAMAGE: Final = ("restore_point", "vm_name", "disk_key", "offset", "length", "file", "message")


def show(result: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the result, a document of a verification. Raises Exit with the code of damaged data where there is some."""
    damages = result["damages"]
    if as_json:
        shown = [{name: damage[name] for name in _OF_DAMAGE} for damage in damages]
        output.document({name: result[name] for name in _SHOWN} | {"damages": shown})
    elif result["good"]:
        output.result(f"✓ {_sentence(result)}.", style="green")
    else:
        points = len({damage["restore_point"] for damage in damages})
        output.out().print(
            Text(f"DAMAGED: {points} of {result['restore_points']} restore points", style="bold red"),
            soft_wrap=True,
        )
        columns = (
            Column("Restore point", whole=True),
            Column("VM"),
            Column("Disk"),
            Column("Range"),
            Column("What"),
        )
        output.table(columns, [_row(damage) for damage in damages])
        output.say("Back the VM up again: damaged chunks that it still has are stored anew.")
    if not result["good"]:
        raise typer.Exit(Kind.DAMAGED.value)


def _sentence(result: Mapping[str, Any]) -> str:
    points, size = result["restore_points"], result["bytes_checked"]
    read = f"{format_size(size)} read back" if size else "looked up, not read"
    return (
        f"{points} restore point{'' if points == 1 else 's'} whole: {result['chunks_checked']} chunks, {read}"
    )


def _row(damage: Mapping[str, Any]) -> tuple[object, ...]:
    length = damage["length"]
    return (
        damage["restore_point"],
        damage["vm_name"],
        "" if damage["disk_key"] is None else damage["disk_key"],
        f"{damage['offset']} + {format_size(length)}" if length else "whole",
        damage["message"],
    )
