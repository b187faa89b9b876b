"""``vbm restore vm``: a whole virtual machine, back to vSphere."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from vbm.cli import access, output, progress, site
from vbm.cli.completion import complete_vcenter
from vbm.cli.confirm import confirmed
from vbm.cli.groups import examples
from vbm.cli.options import (
    DryRun,
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
from vbm.cli.site import Document
from vbm.errors import InputError
from vbm.repository.manifest import Manifest
from vbm.units import format_duration, format_size
from vbm.vsphere.restore_spec import RestoreSpec

EXAMPLES: Final = examples(
    "vbm restore vm 20261123T064837123-9f1c2ab03e --vcenter prod --name web01-restored",
    "vbm restore vm 9f1c2ab03e --vcenter prod --name web01-test --datastore ssd2 --network 'VM Network=Isolated'",
)


def vm(
    restore_point: RestorePointId,
    *,
    vcenter: Annotated[
        str, typer.Option("--vcenter", metavar="NAME", help="Where to.", autocompletion=complete_vcenter)
    ],
    name: Annotated[str | None, typer.Option(metavar="NEW", help="Make a new machine of this name.")] = None,
    in_place: Annotated[
        bool,
        typer.Option("--in-place", help="Replace the machine that was backed up; it must be powered off."),
    ] = False,
    datastore: Annotated[str, typer.Option(metavar="DS", help="As it was, if left out.")] = "",
    host: Annotated[str, typer.Option(metavar="H", help="A host that mounts the datastore.")] = "",
    folder: Annotated[str, typer.Option(metavar="F", help="A folder below the datacenter's VMs.")] = "",
    network: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW", help="Connect an adapter of OLD to NEW; OLD=- leaves it out. Repeatable."
        ),
    ] = None,
    power_on: Annotated[bool, typer.Option("--power-on", help="Switch it on at the end.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    repository: RepositoryOption = None,
    repository_url: RepositoryUrl = None,
    passphrase_env: PassphraseEnv = None,
    key_file: KeyFileOption = None,
    recovery_key_env: RecoveryKeyEnv = None,
) -> None:
    """Restore a whole virtual machine: as a new one, or in place of the one that was backed up.

    A new machine gets its own MAC addresses and UUIDs, so that it can stand beside the original.
    """
    where = access.where(repository, repository_url, passphrase_env, key_file, recovery_key_env)
    if (name is None) == (not in_place):
        raise InputError("give --name NEW for a new machine, or --in-place")
    with (
        site.opened(where) as here,
        cancellable("what was made of the machine is being removed") as cancel,
    ):
        _, manifest = here.manifest(where, restore_point)
        spec = RestoreSpec(
            name=name if name is not None else manifest.vm_name,
            datastore=datastore,
            host=host,
            folder=folder,
            network_map=_network_map(network or []),
            power_on=power_on,
            in_place=in_place,
        )
        spec.check()
        if dry_run:
            _show_plan(manifest, spec, vcenter, as_json=as_json)
            return
        if in_place:
            confirmed(_loss(manifest, vcenter), "Replace it?", yes=yes)
        with progress.shown(progress.RESTORE_PHASES) as listener:
            done = here.restore_vm(where, manifest, vcenter, spec, listener, cancel)
    _show(done, as_json=as_json)


def _network_map(pairs: list[str]) -> dict[str, str]:
    mapped = {}
    for pair in pairs:
        old, separator, new = pair.rpartition("=")
        if not separator or not old or not new:
            raise InputError(
                f"not a mapping of networks: {pair!r}", hint="write it like 'VM Network=Isolated'"
            )
        mapped[old] = new
    return mapped


def _loss(manifest: Manifest, vcenter: str) -> str:
    name, size = output.clean(manifest.vm_name), format_size(manifest.size_bytes)
    since = output.when(manifest.started, utc=False)
    return f"Everything that {name} on {vcenter} has written since {since} is lost: its {size} of disks are replaced."


def _show_plan(manifest: Manifest, spec: RestoreSpec, vcenter: str, *, as_json: bool) -> None:
    plan = {
        "dry_run": True,
        "restore_point": manifest.restore_point_id,
        "vm_name": manifest.vm_name,
        "name": spec.name,
        "vcenter": vcenter,
        "in_place": spec.in_place,
        "datastore": spec.datastore or None,
        "disks": [
            {"key": d.disk_key, "label": d.label, "capacity_bytes": d.capacity_bytes} for d in manifest.disks
        ],
    }
    if as_json:
        output.document(plan)
        return
    what = "replaces the machine of that name" if spec.in_place else "is made anew"
    output.result(
        f"{output.clean(spec.name)} {what} on {vcenter}, {format_size(manifest.size_bytes)} of disks:"
    )
    for disk in manifest.disks:
        output.result(
            f"  {output.clean(disk.label or disk.disk_key)}: {format_size(disk.capacity_bytes or 0)}"
        )


def _show(done: Document, *, as_json: bool) -> None:
    if as_json:
        output.document(done)
        return
    size = format_size(done["capacity_bytes"])
    output.result(
        f"Restored {output.clean(done['name'])} ({done['moref']}) on {done['vcenter']}: {size} of disks, "
        f"in {format_duration(done['duration_seconds'])}."
    )
