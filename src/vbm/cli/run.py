"""``vbm run``: backups, restores and verifications that workers have done and are doing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from vbm.catalog.runs import ENDED, KINDS, LIVE
from vbm.cli import output, site
from vbm.cli.groups import examples, group
from vbm.cli.options import Json, Utc
from vbm.cli.output import Column
from vbm.cli.signals import cancellable
from vbm.cli.site import Document
from vbm.clock import SystemClock, parse_rfc3339
from vbm.errors import InputError
from vbm.units import format_duration, format_size

app = group("See what jobs have done and are doing, and cancel runs.")
RunId = Annotated[
    str, typer.Argument(metavar="ID", help="The run's id, or an unambiguous beginning or end of it.")
]


@app.command("list", epilog=examples("vbm run list", "vbm run list --state failed --job nightly --json"))
def list_(
    *,
    job: Annotated[str | None, typer.Option(metavar="NAME", help="Runs of this job only.")] = None,
    vm: Annotated[
        str | None, typer.Option(metavar="VM", help="Of this VM: its name or instance UUID.")
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="STATE", help="queued, running, succeeded, warning, failed, cancelled."),
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="backup, restore, verify, check, gc.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="At most so many.")] = 50,
    before: Annotated[str, typer.Option(metavar="ID", help="Older than this run: the next page.")] = "",
    as_json: Json = False,
    utc: Utc = False,
) -> None:
    """List runs, the newest first."""
    unknown = [s for s in state or () if s not in (*LIVE, *ENDED)]
    if unknown:
        raise InputError(f"there is no state {unknown[0]!r}", hint=f"use {', '.join((*LIVE, *ENDED))}")
    unknown = [k for k in kind or () if k not in KINDS]
    if unknown:
        raise InputError(f"there is no kind {unknown[0]!r}", hint=f"use {', '.join(KINDS)}")
    wanted = {"state": state, "kind": kind, "job": job, "vm": vm, "before": before}
    with site.opened() as here:
        found = here.runs(wanted, limit)
    if as_json:
        output.document(found)
    elif not found:
        asked = any(wanted.values())
        output.result("No run is like that." if asked else "No run yet. A job makes them: vbm job run NAME")
    else:
        show_runs(found, utc=utc)


@app.command("show", epilog=examples("vbm run show 20261123T0300", "vbm run show 9f1c2ab03e --json"))
def show(run_id: RunId, as_json: Json = False, utc: Utc = False) -> None:
    """Show one run: how far it is or how it ended, and what became of its snapshot."""
    with site.opened() as here:
        run = here.run(run_id)
    if as_json:
        output.document(run)
        return
    facts: list[tuple[str, object]] = []
    if run["error"]:
        facts += [
            ("Cause", f"{run['error']['message']} [{run['error']['code']}]"),
            ("What to do", run["error"]["hint"] or "–"),
        ]
    facts += [
        ("Run", run["id"]),
        ("Kind", run["kind"]),
        ("Job", run["job"] or "–"),
        ("VM" if run["vm_instance_uuid"] else "Repository", run["vm"]),
        ("State", run["state"]),
        ("Phase", run["phase"] or "–"),
        ("Done", _amount(run)),
        ("Started", output.stamp(run["started"], utc=utc) if run["started"] else "not yet"),
        ("Took", _took(run)),
        ("Attempts", run["attempts"]),
        ("Snapshot", run["snapshot_state"]),
        ("Restore point", run["restore_point_id"] or "–"),
    ]
    facts += [("Warning", warning) for warning in run["warnings"]]
    output.facts(facts)


@app.command("cancel", epilog=examples("vbm run cancel 20261123T0300"))
def cancel(run_id: RunId, as_json: Json = False) -> None:
    """Ask a run to stop. Its snapshot is removed first; that may take a while."""
    with site.opened() as here:
        run = here.cancel_run(run_id)
    if as_json:
        output.document(run)
    elif run["state"] in ENDED:
        output.result(f"Cancelled {output.clean(run['vm'])} before it began.")
    else:
        output.result(
            f"The run of {output.clean(run['vm'])} is being stopped; its snapshot is removed first."
        )


@app.command("logs", epilog=examples("vbm run logs 20261123T0300", "vbm run logs 9f1c2ab03e --follow"))
def logs(
    run_id: RunId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    as_json: Json = False,
    utc: Utc = False,
) -> None:
    """Show what a run told."""
    with site.opened() as here, cancellable("only the showing ends") as stop:
        run = here.run(run_id)
        if as_json:
            shown = ("time", "level", "message")
            output.document([{name: line[name] for name in shown} for line in here.log(run["id"], 0)])
            return
        last = 0
        while True:
            ended = here.run(run["id"])["state"] in ENDED
            for line in here.log(run["id"], last):
                last = line["number"]
                style = "yellow" if line["level"] == "warning" else ""
                output.result(
                    f"{output.stamp(line['time'], utc=utc)}  {output.clean(line['message'])}", style=style
                )
            if not follow or ended:
                return
            stop.wait(1)


def show_runs(found: Sequence[Document], *, utc: bool) -> None:
    """A table of runs."""
    columns = (
        Column("Run", whole=True),
        Column("Job"),
        Column("VM"),
        Column("State"),
        Column("Done", right=True),
        Column("Took", right=True),
        Column("Started", from_width=120),
    )
    output.table(
        columns,
        [
            (
                run["id"],
                run["job"] or f"({run['kind']})",
                run["vm"],
                run["state"] if run["state"] != "running" else f"running: {run['phase']}",
                _amount(run),
                _took(run),
                output.stamp(run["started"], utc=utc) if run["started"] else "–",
            )
            for run in found
        ],
    )


def _amount(run: Document) -> str:
    if not run["bytes_total"]:
        return "–"
    return f"{format_size(run['bytes_done'])} of {format_size(run['bytes_total'])}"


def _took(run: Document) -> str:
    if run["started"] is None:
        return "–"
    end = parse_rfc3339(run["finished"]) if run["finished"] else SystemClock().now()
    return format_duration((end - parse_rfc3339(run["started"])).total_seconds())
