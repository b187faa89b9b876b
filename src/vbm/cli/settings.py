"""``vbm settings``: what holds for all jobs together."""

from __future__ import annotations

from typing import Annotated

import typer

from vbm.cli import output
from vbm.cli.groups import examples, group
from vbm.cli.options import Json
from vbm.cli.output import Column
from vbm.services import preferences
from vbm.services.workspace import Workspace

app = group("See and change what holds for all jobs together.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="As `vbm settings list` shows it.")]
Value = Annotated[str, typer.Argument(metavar="VALUE", help="A whole number, or a time of the day.")]


@app.command("list", epilog=examples("vbm settings list", "vbm settings list --json"))
def list_(as_json: Json = False) -> None:
    """Show every setting, its value and what it means."""
    with Workspace.from_environment() as workspace:
        known = preferences.listing(workspace)
    if as_json:
        output.document({one.name: one.value for one in known})
        return
    columns = (Column("Setting", whole=True), Column("Value"), Column("Meaning"))
    output.table(columns, [(one.name, str(one.value), f"{one.title}. {one.hint}") for one in known])


@app.command("set", epilog=examples("vbm settings set max_runs 12", "vbm settings set digest_at 07:00"))
def set_(name: Name, value: Value, as_json: Json = False) -> None:
    """Change one setting. Workers heed it at once; runs under way are not stopped."""
    with Workspace.from_environment() as workspace:
        preferences.change(workspace, {name: value})
        known = {one.name: one.value for one in preferences.listing(workspace)}
    if as_json:
        output.document(known)
    else:
        output.result(f"{name} is {known[name]} now.")
