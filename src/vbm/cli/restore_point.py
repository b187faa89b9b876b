"""``vbm restore-point``: what can be restored."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from rich.text import Text

from vbm.cli import access, output, progress, site, verdicts
from vbm.cli.confirm import confirmed
from vbm.cli.groups import examples, group
from vbm.cli.options import (
    Json,
    KeyFileOption,
    PassphraseEnv,
    RecoveryKeyEnv,
    RepositoryOption,
    RepositoryUrl,
    RestorePointId,
    Utc,
    Yes,
)
from vbm.cli.output import Column
from vbm.cli.signals import cancellable
from vbm.cli.site import Document
from vbm.errors import VbmError
from vbm.repository.manifest import Manifest
from vbm.repository.prune import execute_prune
from vbm.services import restore_points, trail_by_hand, upkeep
from vbm.services.workspace import Workspace
from vbm.units import format_duration, format_size

_FIELDS: Final = (
    *("id", "vm_name", "vm_instance_uuid", "vcenter", "repository", "started", "finished", "read_mode"),
    *("consistency", "size_bytes", "new_bytes", "verified", "pinned"),
)
app = group("List, show, verify, pin and delete restore points.")


@app.command(
    "list",
    epilog=examples(
        "vbm restore-point list --vm web01",
        "vbm restore-point list --repository-url file:///backup/vbm --passphrase-env REPO_PASSPHRASE --json",
    ),
)
def list_(
    *,
    vm: Annotated[
        str | None, typer.Option(metavar="VM", help="Only of this VM: name or instance UUID.")
    ] = None,
    repository: RepositoryOption = None,
    as_json: Json = False,
    utc: Utc = False,
    repository_url: RepositoryUrl = None,
    passphrase_env: PassphraseEnv = None,
    key_file: KeyFileOption = None,
    recovery_key_env: RecoveryKeyEnv = None,
) -> None:
    """List restore points, newest last. Each is complete in itself, whatever its neighbours' fate."""
    where = access.where(repository, repository_url, passphrase_env, key_file, recovery_key_env)
    with site.opened(where) as here:
        found = sorted(here.points(where, vm, _unreachable), key=lambda p: (p["started"], p["id"]))
    if as_json:
        output.document([_json(p) for p in found])
    elif not found:
        output.say(f"There is no restore point{f' of {vm}' if vm else ''} yet. Make one:")
        output.say("  vbm backup VM --repository NAME", style="cyan")
    else:
        _show(found, utc=utc)


@app.command("show", epilog=examples("vbm restore-point show 20261123T064837123-9f1c2ab03e --json"))
def show(
    restore_point: RestorePointId,
    *,
    repository: RepositoryOption = None,
    as_json: Json = False,
    utc: Utc = False,
    repository_url: RepositoryUrl = None,
    passphrase_env: PassphraseEnv = None,
    key_file: KeyFileOption = None,
    recovery_key_env: RecoveryKeyEnv = None,
) -> None:
    """Show one restore point: its VM, disks and files. With --json the manifest as stored."""
    where = access.where(repository, repository_url, passphrase_env, key_file, recovery_key_env)
    with site.opened(where) as here:
        label, manifest = here.manifest(where, restore_point)
    if as_json:
        output.document(manifest.to_document())
    else:
        _show_one(label, manifest, utc=utc)


@app.command(
    "verify",
    epilog=examples(
        "vbm restore-point verify 20261123T064837123-9f1c2ab03e",
        "vbm restore-point verify 9f1c2ab03e --quick",
    ),
)
def verify(
    restore_point: RestorePointId,
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Look at documents and the index, read no data.")
    ] = False,
    as_json: Json = False,
    repository: RepositoryOption = None,
    repository_url: RepositoryUrl = None,
    passphrase_env: PassphraseEnv = None,
    key_file: KeyFileOption = None,
    recovery_key_env: RecoveryKeyEnv = None,
) -> None:
    """Read a restore point back and check every chunk against its hash. Exit code 5 where it is damaged."""
    where = access.where(repository, repository_url, passphrase_env, key_file, recovery_key_env)
    with (
        site.opened(where) as here,
        cancellable("the verification is ending") as cancel,
        progress.shown(progress.VERIFY_PHASES) as listener,
    ):
        result = here.verify(where, restore_point, read_data=not quick, progress=listener, cancel=cancel)
    verdicts.show(result, as_json=as_json)


@app.command("pin", epilog=examples("vbm restore-point pin 20261123T064837123-9f1c2ab03e"))
def pin(
    restore_point: RestorePointId,
    *,
    repository: RepositoryOption = None,
    repository_url: RepositoryUrl = None,
    passphrase_env: PassphraseEnv = None,
    key_file: KeyFileOption = None,
    recovery_key_env: RecoveryKeyEnv = None,
) -> None:
    """Keep a restore point until it is unpinned, whatever retention says."""
    where = access.where(repository, repository_url, passphrase_env, key_file, recovery_key_env)
    with (
        Workspace.from_environment() as workspace,
        restore_points.found(workspace, where, restore_point) as found,
    ):
        restore_points.pin(found)
        point, vm = found.manifest.restore_point_id, found.manifest.vm_name
        trail_by_hand.record(workspace, where, "restore-point.pin", [point], {"vm": vm})
    output.result(f"Pinned {found.manifest.restore_point_id} of {output.clean(found.manifest.vm_name)}.")


@app.command("unpin", epilog=examples("vbm restore-point unpin 20261123T064837123-9f1c2ab03e"))
def unpin(
    restore_point: RestorePointId,
    *,
    repository: RepositoryOption = None,
    repository_url: RepositoryUrl = None,
    passphrase_env: PassphraseEnv = None,
    key_file: KeyFileOption = None,
    recovery_key_env: RecoveryKeyEnv = None,
) -> None:
    """Let retention decide about a restore point again."""
    where = access.where(repository, repository_url, passphrase_env, key_file, recovery_key_env)
    with (
        Workspace.from_environment() as workspace,
        restore_points.found(workspace, where, restore_point) as found,
    ):
        restore_points.unpin(found)
        point, vm = found.manifest.restore_point_id, found.manifest.vm_name
        trail_by_hand.record(workspace, where, "restore-point.unpin", [point], {"vm": vm})
    output.result(f"Unpinned {found.manifest.restore_point_id} of {output.clean(found.manifest.vm_name)}.")


@app.command(
    "delete",
    epilog=examples(
        "vbm restore-point delete 20261123T064837123-9f1c2ab03e --dry-run",
        "vbm restore-point delete 20261123T064837123-9f1c2ab03e --yes",
    ),
)
def delete(
    restore_points_given: Annotated[
        list[str], typer.Argument(metavar="ID...", help="The whole ids of the restore points.")
    ],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be deleted and change nothing.")
    ] = False,
    yes: Yes = False,
    repository: RepositoryOption = None,
    repository_url: RepositoryUrl = None,
    passphrase_env: PassphraseEnv = None,
    key_file: KeyFileOption = None,
    recovery_key_env: RecoveryKeyEnv = None,
) -> None:
    """Delete restore points for good. Others stay whole; garbage collection frees the space."""
    where = access.where(repository, repository_url, passphrase_env, key_file, recovery_key_env)
    with (
        Workspace.from_environment() as workspace,
        cancellable("deleting is ending") as cancel,
        upkeep.deletion(workspace, where, restore_points_given, cancel) as (found, plan),
    ):
        for point in plan.drop:
            name = output.clean(point.vm_name) or f"{point.vm}, whose manifest can't be read"
            output.result(f"{'Would delete' if dry_run else 'To delete'}: {point.id} of {name}")
        size = format_size(plan.freed_bytes)
        if dry_run:
            output.result(f"Garbage collection would then free up to {size}.")
            return
        count = len(plan.drop)
        confirmed(
            f"{count} restore point{'s' if count > 1 else ''} can't be restored any more; {size} become free.",
            "Delete for good?",
            yes=yes,
        )
        execute_prune(found, plan, cancel)
        trail_by_hand.record(workspace, where, "restore-point.delete", [point.id for point in plan.drop])
    output.result(f"Deleted {count}. The next garbage collections free up to {size}: vbm repository gc")


def _unreachable(name: str, error: VbmError) -> None:
    output.say(f"Warning: repository {name}: {error.message}", style="yellow")


def _show(found: list[Document], *, utc: bool) -> None:
    several = len({p["repository"] for p in found}) > 1
    columns = (
        Column("Id", whole=True),
        Column("VM"),
        Column("Repository", from_width=0 if several else 140),
        Column("Started", whole=True),
        Column("Read", whole=True, from_width=100),
        Column("Size", right=True),
        Column("New", right=True),
        Column("Marks", from_width=0 if any(p["pinned"] or p["verified"] for p in found) else 120),
    )
    output.table(columns, [_row(p, utc=utc) for p in found])


def _row(point: Document, *, utc: bool) -> tuple[object, ...]:
    verified = point["verified"]
    marks = ["pinned"] if point["pinned"] else []
    if verified is not None:
        marks.append("verified" if verified["good"] else "DAMAGED")
    style = "red" if verified is not None and not verified["good"] else "green"
    return (
        point["id"],
        point["vm_name"],
        point["repository"],
        output.stamp(point["started"], utc=utc, seconds=False),
        point["read_mode"],
        format_size(point["size_bytes"]),
        format_size(point["new_bytes"]),
        Text(", ".join(marks), style=style),
    )


def _json(point: Document) -> Document:
    return {name: point[name] for name in _FIELDS}


def _show_one(label: str, manifest: Manifest, *, utc: bool) -> None:
    seconds = (manifest.finished - manifest.started).total_seconds()
    output.facts(
        [
            ("Restore point", manifest.restore_point_id),
            ("Repository", label),
            ("VM", f"{manifest.vm_name} on {manifest.vcenter}"),
            ("Instance UUID", manifest.vm_instance_uuid),
            ("Made", f"{output.when(manifest.started, utc=utc)}, in {format_duration(seconds)}"),
            ("Read", f"{manifest.read_mode} by {manifest.transport}"),
            ("Consistency", f"{manifest.consistency}-consistent"),
            ("Bytes read", format_size(manifest.bytes.read)),
            ("Bytes changed", format_size(manifest.bytes.changed)),
            ("Bytes new", format_size(manifest.bytes.new)),
        ]
    )
    columns = (
        Column("Disk", right=True),
        Column("Label"),
        Column("Size", right=True),
        Column("Read"),
        Column("Change id", from_width=120),
    )
    output.table(
        columns,
        [
            (
                d.disk_key,
                d.label or "",
                format_size(d.capacity_bytes or 0),
                d.read_mode or "",
                d.change_id or "",
            )
            for d in manifest.disks
        ],
    )
    files = [f for f in manifest.files if not f.is_disk]
    output.table(
        (Column("File"), Column("Size", right=True)), [(f.path, format_size(f.size_bytes)) for f in files]
    )
    for disk in manifest.excluded_disks:
        output.result(
            f"Not in it: {output.clean(disk.get('label', ''))}: {output.clean(disk.get('reason', ''))}",
            style="yellow",
        )
    for note in manifest.notes:
        output.result(f"Note: {output.clean(note)}", style="dim")
