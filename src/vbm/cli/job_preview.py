"""``vbm job preview``: which VMs a job would back up now."""

from __future__ import annotations

from typing import Annotated

import typer

from vbm.cli import output
from vbm.cli.groups import examples
from vbm.cli.options import Json
from vbm.cli.output import Column
from vbm.cli.signals import cancellable
from vbm.services import selection
from vbm.services.workspace import Workspace
from vbm.units import format_size

EXAMPLES = examples("vbm job preview nightly", "vbm job preview nightly --json")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The job's name or id.")]


def preview(name: Name, as_json: Json = False) -> None:
    """Show which VMs a job would back up if it ran now, and which of its rules no VM answers to."""
    with Workspace.from_environment() as workspace, cancellable("nothing was changed") as cancel:
        found = selection.preview(workspace, name, cancel)
    if as_json:
        vms = [
            {
                "name": vm.name,
                "moref": vm.moref,
                "instance_uuid": vm.instance_uuid,
                "folder": vm.folder,
                "capacity_bytes": sum(disk.capacity_bytes for disk in vm.disks),
                "skip_reason": vm.skip_reason,
            }
            for vm in found.vms
        ]
        output.document({"vms": vms, "unmatched": list(found.unmatched)})
        return
    columns = (Column("VM"), Column("Folder"), Column("Size"), Column("Remark"))
    output.table(
        columns,
        [
            (vm.name, vm.folder, format_size(sum(d.capacity_bytes for d in vm.disks)), vm.skip_reason)
            for vm in found.vms
        ],
    )
    output.result(f"{len(found.vms)} VMs.")
    for rule in found.unmatched:
        output.say(f"No VM answers to: {rule}", style="yellow")
