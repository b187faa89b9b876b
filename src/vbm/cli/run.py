"""``vbm run``: backups, restores and verifications that workers have done and are doing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from vbm.catalog.runs import ENDED, KINDS, LIVE, RunFilter, RunRecord
from vbm.cli import output
from vbm.cli.groups import examples, group
from vbm.cli.options import Json, Utc
from vbm.cli.output import Column
from vbm.cli.signals import cancellable
from vbm.clock import SystemClock, rfc3339
from vbm.errors import InputError
from vbm.services import runs
from vbm.services.documents import run_document
from vbm.services.workspace import Workspace
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
    kind: Annotated[list[str] | None, typer.Option(metavar="KIND", help="backup, restore, verify.")] = None,
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
    with Workspace.from_environment() as workspace:
        wanted = RunFilter(
            states=state or (),
            kinds=kind or (),
            job_id=runs.job_id_of(workspace, job) if job else "",
            vm=vm or "",
            before=before,
            limit=limit,
        )
        found = runs.listing(workspace, wanted)
    if as_json:
        output.document([run_document(record) for record in found])
    elif not found:
        output.result("No such run.")
    else:
        show_runs(found, utc=utc)


@app.command("show", epilog=examples("vbm run show 20261123T0300", "vbm run show 9f1c2ab03e --json"))
def show(run_id: RunId, as_json: Json = False, utc: Utc = False) -> None:
    """Show one run: how far it is or how it ended, and what became of its snapshot."""
    with Workspace.from_environment() as workspace:
        record = runs.get(workspace, run_id)
    if as_json:
        output.document(run_document(record))
        return
    facts: list[tuple[str, object]] = []
    if record.error_message:
        facts += [
            ("Cause", f"{record.error_message} [{record.error_code}]"),
            ("What to do", record.error_hint or "–"),
        ]
    facts += [
        ("Run", record.id),
        ("Kind", record.kind),
        ("Job", record.job_name or "–"),
        ("VM", record.vm_name),
        ("State", record.state),
        ("Phase", record.phase or "–"),
        ("Done", _amount(record)),
        ("Started", output.when(record.started, utc=utc) if record.started else "not yet"),
        ("Took", _took(record)),
        ("Attempts", record.attempts),
        ("Snapshot", record.snapshot_state),
        ("Restore point", record.restore_point_id or "–"),
    ]
    facts += [("Warning", warning) for warning in record.warnings]
    output.facts(facts)


@app.command("cancel", epilog=examples("vbm run cancel 20261123T0300"))
def cancel(run_id: RunId, as_json: Json = False) -> None:
    """Ask a run to stop. Its snapshot is removed first; that may take a while."""
    with Workspace.from_environment() as workspace:
        record = runs.cancel(workspace, run_id)
    if as_json:
        output.document(run_document(record))
    elif record.state in ENDED:
        output.result(f"Cancelled {record.vm_name} before it began.")
    else:
        output.result(f"The run of {record.vm_name} is being stopped; its snapshot is removed first.")


@app.command("logs", epilog=examples("vbm run logs 20261123T0300", "vbm run logs 9f1c2ab03e --follow"))
def logs(
    run_id: RunId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    as_json: Json = False,
    utc: Utc = False,
) -> None:
    """Show what a run told."""
    with Workspace.from_environment() as workspace, cancellable("only the showing ends") as stop:
        record = runs.get(workspace, run_id)
        if as_json:
            lines = [line for _, line in runs.logs(workspace, record.id)]
            output.document(
                [{"time": rfc3339(n.time), "level": n.level, "message": n.message} for n in lines]
            )
            return
        last = 0
        while True:
            ended = runs.get(workspace, record.id).state in ENDED
            for number, line in runs.logs(workspace, record.id, after=last):
                last = number
                style = "yellow" if line.level == "warning" else ""
                output.result(f"{output.when(line.time, utc=utc)}  {output.clean(line.message)}", style=style)
            if not follow or ended:
                return
            stop.wait(1)


def show_runs(found: Sequence[RunRecord], *, utc: bool) -> None:
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
                record.id,
                record.job_name or f"({record.kind})",
                record.vm_name,
                record.state if record.state != "running" else f"running: {record.phase}",
                _amount(record),
                _took(record),
                output.when(record.started, utc=utc) if record.started else "–",
            )
            for record in found
        ],
    )


def _amount(record: RunRecord) -> str:
    if not record.bytes_total:
        return "–"
    return f"{format_size(record.bytes_done)} of {format_size(record.bytes_total)}"


def _took(record: RunRecord) -> str:
    if record.started is None:
        return "–"
    return format_duration(((record.finished or SystemClock().now()) - record.started).total_seconds())
