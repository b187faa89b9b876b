"""``vbm restore``: a disk to a file, a virtual machine to vSphere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vbm.cli import access, output, progress, restore_vm
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
    Yes,
)
from vbm.cli.signals import cancellable
from vbm.clock import SystemClock
from vbm.services import restore as restores
from vbm.services import restore_points
from vbm.services.restore import DiskOrder
from vbm.services.workspace import Workspace
from vbm.units import format_duration, format_size

app = group("Restore a disk to a file, or a virtual machine to vSphere.")


class Format(StrEnum):
    """Image formats."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VMDK = "vmdk"


@app.command(
    "disk",
    epilog=examples(
        "vbm restore disk 20261123T064837123-9f1c2ab03e --disk 0 --output /restore/web01.raw",
        "vbm restore disk 9f1c2ab03e --disk 2001 --output data.qcow2 --format qcow2",
    ),
)
def disk(
    restore_point: RestorePointId,
    *,
    disk: Annotated[
        str,
        typer.Option("--disk", metavar="KEY|INDEX", help="Which disk: its key, such as 2000, or 0, 1, 2 …"),
    ],
    to: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The image to write; it must not exist.")
    ],
    image_format: Annotated[
        Format, typer.Option("--format", help="raw is sparse; vmdk is a flat one with its descriptor.")
    ] = Format.RAW,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if it exists, once the new one is whole.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
    repository: RepositoryOption = None,
    repository_url: RepositoryUrl = None,
    passphrase_env: PassphraseEnv = None,
    key_file: KeyFileOption = None,
    recovery_key_env: RecoveryKeyEnv = None,
) -> None:
    """Write one disk of a restore point into an image file.

    Every chunk is checked against its hash first. Needs no vCenter, and with `--repository-url` no database.
    """
    where = access.where(repository, repository_url, passphrase_env, key_file, recovery_key_env)
    order = DiskOrder(disk=disk, output=to, image_format=image_format.value, force=force)
    clock = SystemClock()
    with (
        Workspace.from_environment() as workspace,
        cancellable("the unfinished file is being removed") as cancel,
        restore_points.found(workspace, where, restore_point) as found,
    ):
        if force and to.exists():
            confirmed(f"{to} exists and will be replaced.", "Replace it?", yes=yes)
        began = clock.monotonic()
        with progress.shown(progress.RESTORE_PHASES) as listener:
            done = restores.disk_to_file(found, order, listener, cancel)
    seconds = clock.monotonic() - began
    if as_json:
        output.document(
            {
                "restore_point": found.manifest.restore_point_id,
                "disk_key": done.disk_key,
                "output": str(done.path),
                "format": image_format.value,
                "capacity_bytes": done.capacity_bytes,
                "bytes_written": done.bytes_written,
                "duration_seconds": round(seconds, 3),
            }
        )
        return
    size = f"{format_size(done.capacity_bytes)}, {format_size(done.bytes_written)} of it data"
    output.result(f"Restored disk {done.disk_key} to {done.path}: {size}, in {format_duration(seconds)}.")


app.command("vm", epilog=restore_vm.EXAMPLES)(restore_vm.vm)
