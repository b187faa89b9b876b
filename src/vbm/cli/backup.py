"""``vbm backup``: one virtual machine, now."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from vbm.cli import output, progress
from vbm.cli.completion import complete_repository
from vbm.cli.groups import examples, single
from vbm.cli.options import DryRun, Json, VcenterOption
from vbm.cli.output import Column
from vbm.cli.signals import cancellable
from vbm.engine.result import BackupResult
from vbm.engine.run_context import BackupOptions
from vbm.errors import InputError
from vbm.ids import DiskKey
from vbm.services import backup as backups
from vbm.services.backup import BackupOrder, Outlook
from vbm.services.workspace import Workspace
from vbm.units import format_duration, format_size, parse_size

app = single()


class Mode(StrEnum):
    """``auto`` reads what changed where that is known, ``full`` reads everything."""

    AUTO = "auto"
    FULL = "full"


@app.command(
    epilog=examples(
        "vbm backup web01 --repository main",
        "vbm backup Finance/web01 --vcenter prod --repository main --quiesce --exclude-disk 2001 --json",
    )
)
def backup(
    vm: Annotated[str, typer.Argument(metavar="VM", help="Name, folder/name, instance UUID or moref.")],
    *,
    repository: Annotated[
        str,
        typer.Option(
            "--repository", metavar="NAME", help="Where to keep it.", autocompletion=complete_repository
        ),
    ],
    vcenter: VcenterOption = None,
    mode: Annotated[
        Mode, typer.Option(help="Read what changed, where that is known, or everything.")
    ] = Mode.AUTO,
    quiesce: Annotated[
        bool, typer.Option("--quiesce", help="Bring the guest's file systems to rest for the snapshot.")
    ] = False,
    exclude_disk: Annotated[
        list[int] | None,
        typer.Option(metavar="KEY", help="Leave this disk out, such as 2001; may be repeated."),
    ] = None,
    audit: Annotated[
        int,
        typer.Option(
            min=0, max=4096, metavar="N", help="Chunks a disk that are read again to check change tracking."
        ),
    ] = BackupOptions().audit_chunks,
    limit: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Read at most so much a second, such as 50MiB.")
    ] = None,
    transport: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="datastore-https or nfc instead of the one chosen by itself."),
    ] = None,
    checkpoint_seconds: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="S",
            help="How often to write down what is finished, so that an interrupted read goes on from there.",
        ),
    ] = BackupOptions().checkpoint_seconds,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Back up one virtual machine now.

    A snapshot is made, read and removed again, whatever happens: errors, Ctrl-C and SIGTERM too. After
    the first backup only what changed is read; every restore point is complete in itself all the same.
    """
    options = BackupOptions(
        mode="full" if mode is Mode.FULL else "auto",
        quiesce=quiesce,
        exclude_disks=frozenset(DiskKey(key) for key in exclude_disk or ()),
        audit_chunks=audit,
        bytes_per_second=_rate(limit),
        transport=transport,
        checkpoint_seconds=checkpoint_seconds,
    )
    order = BackupOrder(vm=vm, repository=repository, vcenter=vcenter, options=options)
    with Workspace.from_environment() as workspace, cancellable("the snapshot is being removed") as cancel:
        if dry_run:
            _show_outlook(backups.outlook(workspace, order, cancel), options, as_json=as_json)
            return
        with progress.shown() as listener:
            result = backups.run(workspace, order, listener, cancel)
    if as_json:
        output.document(result_json(result))
    else:
        _show(result)


def _rate(limit: str | None) -> int:
    rate = parse_size(limit) if limit is not None else 0
    if limit is not None and rate <= 0:
        raise InputError(f"the limit {limit!r} would stop the backup", hint="leave --limit out for no limit")
    return rate


def result_json(result: BackupResult) -> dict[str, object]:
    """The document of ``vbm backup --json``."""
    return {
        "run_id": result.run_id,
        "restore_point": result.restore_point,
        "vm": result.vm_name,
        "read_mode": result.read_mode,
        "consistency": result.consistency,
        "transport": result.transport,
        "bytes_read": result.bytes_read,
        "bytes_changed": result.bytes_changed,
        "bytes_audited": result.bytes_audited,
        "bytes_new": result.bytes_new,
        "capacity_bytes": result.capacity_bytes,
        "duration_seconds": round(result.duration_seconds, 3),
        "snapshot_removed": result.snapshot_removed,
        "resumed": result.resumed,
        "notes": list(result.notes),
        "warnings": list(result.warnings),
    }


def _show(result: BackupResult) -> None:
    seconds = format_duration(result.duration_seconds)
    output.result(
        f"Backed up {output.clean(result.vm_name)} in {seconds}: restore point {result.restore_point}",
        style="bold",
    )
    how = f"{result.read_mode}, {result.transport}"
    output.facts(
        [
            ("Read", f"{format_size(result.bytes_read)} of {format_size(result.capacity_bytes)} ({how})"),
            ("Changed", format_size(result.bytes_changed)),
            ("New in the repository", format_size(result.bytes_new)),
            ("Checked again", format_size(result.bytes_audited)),
            ("Consistency", f"{result.consistency}-consistent"),
            (
                "Snapshot",
                Text("removed", style="green")
                if result.snapshot_removed
                else Text("STILL THERE", style="bold red"),
            ),
        ]
    )
    if not result.snapshot_removed:
        output.say(
            "The next vbm command that works on this vCenter tries again to remove it.", style="yellow"
        )


def _show_outlook(outlook: Outlook, options: BackupOptions, *, as_json: bool) -> None:
    disks = [
        {
            "key": d.disk.key,
            "label": d.disk.label,
            "capacity_bytes": d.disk.capacity_bytes,
            "included": d.included and d.disk.key not in options.exclude_disks,
            "reason": "excluded on request" if d.disk.key in options.exclude_disks else d.reason,
        }
        for d in outlook.disks
    ]
    if as_json:
        output.document(
            {"vm": outlook.vm.name, "dry_run": True, "disks": disks, "remarks": list(outlook.remarks)}
        )
        return
    columns = (Column("Disk", right=True), Column("Label"), Column("Size", right=True), Column("Backed up"))
    rows = [
        (
            d["key"],
            d["label"],
            format_size(int(str(d["capacity_bytes"]))),
            "yes" if d["included"] else f"no: {d['reason']}",
        )
        for d in disks
    ]
    output.result(f"{output.clean(outlook.vm.name)} would be backed up so:")
    output.table(columns, rows)
    for remark in (outlook.vm.skip_reason, *outlook.remarks):
        if remark:
            output.result(f"Note: {remark}", style="yellow")
