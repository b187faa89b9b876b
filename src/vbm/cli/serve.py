"""``vbm serve``: pages, API and jobs in one process on one machine, with nothing else to install."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from vbm.cli import output
from vbm.cli.groups import examples, single
from vbm.cli.worker import Drain, Slots
from vbm.services import working
from vbm.services.working import Worker, WorkerOptions
from vbm.services.workspace import Workspace
from vbm.web.options import WebOptions
from vbm.web.serving import Address, WebServer

app = single()


@app.command(
    epilog=examples(
        "vbm serve",
        "vbm serve --host 0.0.0.0 --port 443 --tls-certificate server.pem --tls-key server.key",
        "vbm serve --no-worker",
    )
)
def serve(
    *,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Address to listen on; 0.0.0.0: on all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="0: any that is free.")] = 8080,
    tls_certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM certificate, with those of its issuers.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM key of the certificate.")] = None,
    no_worker: Annotated[
        bool, typer.Option("--no-worker", help="Run no jobs here: workers run elsewhere.")
    ] = False,
    slots: Slots = 4,
    drain: Drain = 20.0,
    name: Annotated[str, typer.Option(metavar="NAME", help="What to call this worker.")] = "serve",
) -> None:
    """Serve the web interface and the API, and run jobs at their times, until SIGTERM or Ctrl-C.

    One process on one machine with its own database in `VBM_HOME`. For several machines see `vbm worker`.
    Behind a proxy that speaks TLS set `VBM_BEHIND_TLS=1` and name the proxy in `VBM_TRUSTED_PROXIES`.
    """
    address = Address(host, port, tls_certificate, tls_key)
    options = WebOptions.from_environment(https=address.https)
    with Workspace.from_environment() as workspace:
        worker = None
        if not no_worker:
            worker = working.worker(workspace, WorkerOptions(name=name, slots=slots, drain_seconds=drain))
        server = WebServer(workspace, address, options)
        _until_stopped(server, worker, _warning(address, options))
    output.say("Stopped; nothing of ours is under way here.")


def _warning(address: Address, options: WebOptions) -> str:
    local = address.host in {"127.0.0.1", "::1", "localhost"}
    if options.https or local:
        return ""
    return "Passwords travel unprotected: use --tls-certificate, or a proxy with TLS and VBM_BEHIND_TLS=1."


def _until_stopped(server: WebServer, worker: Worker | None, warning: str) -> None:
    """The worker in this thread, where its start may fail with a plain error; the web in one beside it."""
    stopped = threading.Event()

    def stop() -> None:
        server.stop()
        if worker is not None:
            worker.stop()
        stopped.set()

    def ready() -> None:
        server.start(ended)
        output.say(f"Ready at {server.url}")
        if server.awaits_set_up:
            output.say(f"New here: open {server.url}/set-up and make the first administrator.")
        if warning:
            output.say(warning, style="yellow")
        output.say("Ctrl-C or SIGTERM stops.", style="dim")

    def ended() -> None:
        if worker is not None:
            worker.stop()
        stopped.set()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        os.write(2, b"\nStopping: runs end or are handed back.\n")
        threading.Thread(target=stop).start()  # no lock is taken within a signal's handler

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    if worker is None:
        ready()
        stopped.wait()
    else:
        worker.run(ready)
    server.join()
