"""``vbm serve``: jobs run by themselves, on one machine, with nothing else to install."""

from __future__ import annotations

from typing import Annotated

import typer

from vbm.cli.groups import examples, single
from vbm.cli.worker import Drain, Slots, work
from vbm.services.working import WorkerOptions

app = single()


@app.command(epilog=examples("vbm serve", "vbm serve --slots 2"))
def serve(
    *,
    slots: Slots = 4,
    drain: Drain = 20.0,
    name: Annotated[str, typer.Option(metavar="NAME", help="What to call this worker.")] = "serve",
) -> None:
    """Run jobs at their times, remove snapshots left behind, send notifications, until SIGTERM or Ctrl-C.

    One process on one machine with its own database in `VBM_HOME`. For several machines see `vbm worker`.
    """
    work(WorkerOptions(name=name, slots=slots, drain_seconds=drain))
