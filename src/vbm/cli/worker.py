"""``vbm worker``: one of several processes that run jobs from one PostgreSQL database."""

from __future__ import annotations

import os
import signal
import socket
import threading
from dataclasses import replace
from types import FrameType
from typing import Annotated

import typer

from vbm.cli import output
from vbm.cli.completion import complete_repository, complete_vcenter
from vbm.cli.groups import examples, single
from vbm.services import working
from vbm.services.working import Worker, WorkerOptions
from vbm.services.workspace import Workspace

app = single()
Slots = Annotated[int, typer.Option(min=1, max=64, metavar="N", help="Runs at once in this process.")]
Drain = Annotated[
    float,
    typer.Option(
        min=0, metavar="SECONDS", help="How long to wait for runs when stopped, before they are handed back."
    ),
]


@app.command(
    epilog=examples(
        "vbm worker --name backup2", "vbm worker --vcenter paris --repository paris-nfs --slots 8"
    )
)
def worker(
    *,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What to call it; this machine's name if none is given."),
    ] = None,
    slots: Slots = 4,
    drain: Drain = 20.0,
    vcenter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Take only runs of this vCenter; may be repeated.",
            autocompletion=complete_vcenter,
        ),
    ] = None,
    repository: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Take only runs into this repository; may be repeated.",
            autocompletion=complete_repository,
        ),
    ] = None,
) -> None:
    """Take runs from the database and do them, until SIGTERM or Ctrl-C.

    Any number of workers on any machines may share one PostgreSQL database (`VBM_DATABASE_URL`), one master
    key (`VBM_MASTER_KEY`) and the same repositories. On SQLite there is one. A worker that dies loses nothing:
    another one goes on with its runs within a minute.
    """
    options = WorkerOptions(name=name or socket.gethostname(), slots=slots, drain_seconds=drain)
    work(options, vcenter or [], repository or [])


def work(
    options: WorkerOptions, vcenters: list[str] | None = None, repositories: list[str] | None = None
) -> None:
    """A worker in this process until a signal stops it."""
    with Workspace.from_environment() as workspace:
        reach = working.reach(workspace, vcenters or [], repositories or [])
        made = working.worker(workspace, replace(options, reach=reach))
        _stop_on_signals(made)
        made.run(lambda: output.say(f"Ready: {options.slots} runs at once. Ctrl-C or SIGTERM stops."))
    output.say("Stopped; nothing of ours is under way here.")


def _stop_on_signals(made: Worker) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        os.write(2, b"\nStopping: runs end or are handed back.\n")
        threading.Thread(target=made.stop).start()  # no lock is taken within a signal's handler

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
