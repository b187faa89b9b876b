"""How the result of a verification is shown; damage ends with exit code 5."""

from __future__ import annotations

import typer
from rich.text import Text

from vbm.cli import output
from vbm.cli.output import Column
from vbm.errors import Kind
from vbm.repository.verify import Damage, Verified
from vbm.units import format_size


def show(result: Verified, *, as_json: bool) -> None:
    """Print the result. Raises Exit with the code of damaged data where there is damage."""
    if as_json:
        output.document(_json(result))
    elif result.good:
        output.result(f"✓ {result.sentence}.", style="green")
    else:
        points = len({d.restore_point for d in result.damages})
        output.out().print(
            Text(f"DAMAGED: {points} of {result.restore_points} restore points", style="bold red"),
            soft_wrap=True,
        )
        columns = (
            Column("Restore point", whole=True),
            Column("VM"),
            Column("Disk"),
            Column("Range"),
            Column("What"),
        )
        output.table(columns, [_row(d) for d in result.damages])
        output.say("Back the VM up again: damaged chunks that it still has are stored anew.")
    if not result.good:
        raise typer.Exit(Kind.DAMAGED.value)


def _row(damage: Damage) -> tuple[object, ...]:
    where = f"{damage.offset} + {format_size(damage.length)}" if damage.length else "whole"
    return (
        damage.restore_point,
        damage.vm_name,
        "" if damage.disk_key is None else damage.disk_key,
        where,
        damage.message,
    )


def _json(result: Verified) -> dict[str, object]:
    return {
        "good": result.good,
        "restore_points": result.restore_points,
        "chunks_checked": result.chunks_checked,
        "bytes_checked": result.bytes_checked,
        "damages": [
            {
                "restore_point": d.restore_point,
                "vm_name": d.vm_name,
                "disk_key": d.disk_key,
                "offset": d.offset,
                "length": d.length,
                "file": d.file,
                "message": d.message,
            }
            for d in result.damages
        ],
    }
