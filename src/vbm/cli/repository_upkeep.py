"""``vbm repository stats|gc|repair``: what a repository holds, and keeping it in order."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from vbm.cli import access, output, progress
from vbm.cli import options as access_options
from vbm.cli.completion import complete_repository
from vbm.cli.confirm import confirmed
from vbm.cli.groups import examples
from vbm.cli.options import Json, RepositoryUrl, Yes
from vbm.cli.output import Column
from vbm.cli.signals import cancellable
from vbm.repository.gc import GcPlan, execute_gc, plan_gc
from vbm.repository.repair import RepairPlan, execute_repair, plan_repair
from vbm.repository.stats import Stats
from vbm.services import access as repository_access
from vbm.services import upkeep
from vbm.services.workspace import Workspace
from vbm.units import format_size

Name = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="The repository's name; may be left out where only one is known.",
        autocompletion=complete_repository,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and change nothing.")]
STATS_EXAMPLES: Final = examples("vbm repository stats main", "vbm repository stats main --json")
GC_EXAMPLES: Final = examples("vbm repository gc main --dry-run", "vbm repository gc main --yes")
REPAIR_EXAMPLES: Final = examples("vbm repository repair main --dry-run")


def stats(
    name: Name = None,
    *,
    as_json: Json = False,
    repository_url: RepositoryUrl = None,
    passphrase_env: access_options.PassphraseEnv = None,
    key_file: access_options.KeyFileOption = None,
    recovery_key_env: access_options.RecoveryKeyEnv = None,
) -> None:
    """Show what a repository holds, how far it deduplicates, and what each VM costs in it."""
    where = access.where(name, repository_url, passphrase_env, key_file, recovery_key_env)
    with Workspace.from_environment() as workspace, cancellable("counting is ending") as cancel:
        label, found = upkeep.stats(workspace, where, cancel)
    if as_json:
        output.document(_stats_document(found))
    else:
        _show_stats(label, found)


def _stats_document(found: Stats) -> dict[str, Any]:
    document = {name: getattr(found, name) for name in found.__slots__ if name != "vms"}
    vms = [{name: getattr(vm, name) for name in vm.__slots__} for vm in found.vms]
    return {**document, "ratio": round(found.ratio, 3), "vms": vms}


def _show_stats(label: str, found: Stats) -> None:
    unneeded = max(0, found.pack_bytes - found.needed_bytes)
    output.facts(
        [
            ("Repository", label),
            ("Restore points", str(found.restore_points)),
            ("Disks, as the guests see them", format_size(found.logical_bytes)),
            ("Of that not zeros", format_size(found.used_bytes)),
            ("Stored", f"{format_size(found.stored_bytes)}, {found.ratio:.1f}× less"),
            ("Needed by nothing", format_size(unneeded)),
            ("Chunks", f"{found.chunks} in {found.packs} packs"),
        ]
    )
    if found.damaged_restore_points:
        output.say(
            f"{found.damaged_restore_points} restore points can't be read: vbm repository check {label}",
            style="red",
        )
    columns = (
        Column("VM"),
        Column("Restore points", right=True),
        Column("Size", right=True),
        Column("Needs", right=True),
        Column("Alone", right=True),
    )
    rows = [
        (vm.name, vm.restore_points, *map(format_size, (vm.logical_bytes, vm.needed_bytes, vm.unique_bytes)))
        for vm in found.vms
    ]
    if rows:
        output.table(columns, rows)


def gc(
    name: Name = None,
    *,
    dry_run: DryRun = False,
    grace_hours: Annotated[
        float, typer.Option(min=0, metavar="H", help="Hours between condemning a pack and deleting it.")
    ] = 24,
    yes: Yes = False,
    as_json: Json = False,
    repository_url: RepositoryUrl = None,
    passphrase_env: access_options.PassphraseEnv = None,
    key_file: access_options.KeyFileOption = None,
    recovery_key_env: access_options.RecoveryKeyEnv = None,
) -> None:
    """Collect garbage: condemn what no restore point needs, delete what was condemned a day ago.

    Backups may run at the same time. Run it daily; each run does both steps.
    """
    where = access.where(name, repository_url, passphrase_env, key_file, recovery_key_env)
    options = upkeep.gc_options(grace_hours)
    with (
        Workspace.from_environment() as workspace,
        cancellable("garbage collection is ending") as cancel,
        repository_access.one(workspace, where) as (_, repository),
    ):
        plan = plan_gc(repository, options, cancel)
        if not dry_run and plan.has_work:
            if plan.delete:
                confirmed(_delete_sentence(plan), "Go on?", yes=yes)
            plan = execute_gc(repository, plan, options, progress.Remarks(), cancel)
    if as_json:
        output.document(_gc_document(plan, dry_run=dry_run))
    else:
        _show_gc(plan, dry_run=dry_run)


def _delete_sentence(plan: GcPlan) -> str:
    return (
        f"{len(plan.delete)} packs, {format_size(plan.delete_bytes)}, will be deleted for good: "
        "no restore point needs them."
    )


def _gc_document(plan: GcPlan, *, dry_run: bool) -> dict[str, Any]:
    counts = {name: len(getattr(plan, name)) for name in ("condemn", "repack", "delete", "spare", "orphans")}
    sizes = {
        name: getattr(plan, name) for name in ("condemn_bytes", "copy_bytes", "delete_bytes", "waiting_bytes")
    }
    return {**counts, **sizes, "dead_sessions": list(plan.dead_sessions), "dry_run": dry_run}


def _show_gc(plan: GcPlan, *, dry_run: bool) -> None:
    if plan.is_empty:
        waiting = (
            f" {format_size(plan.waiting_bytes)} wait for their day to end." if plan.waiting_bytes else ""
        )
        output.result(f"Nothing to collect.{waiting}")
        return
    would = "would be " if dry_run else ""
    rows = [
        (f"{would}deleted", plan.delete, plan.delete_bytes),
        (f"{would}condemned, to be deleted a day later", plan.condemn, plan.condemn_bytes),
        (f"{would}rewritten, as little of them is needed", plan.repack, plan.copy_bytes),
    ]
    for what, packs, size in rows:
        if packs:
            output.result(f"{len(packs)} packs, {format_size(size)}, {what}.")
    if plan.waiting_bytes:
        output.result(f"{format_size(plan.waiting_bytes)} condemned before wait for their day to end.")
    if plan.orphans:
        output.result(f"{len(plan.orphans)} objects of unfinished backups {would}removed.")
    if plan.dead_sessions:
        output.result(f"{len(plan.dead_sessions)} writers that died {would}dropped.")


def repair(
    name: Name = None,
    *,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    repository_url: RepositoryUrl = None,
    passphrase_env: access_options.PassphraseEnv = None,
    key_file: access_options.KeyFileOption = None,
    recovery_key_env: access_options.RecoveryKeyEnv = None,
) -> None:
    """Rebuild the index from the packs. Restore points are not touched; what is lost is named."""
    where = access.where(name, repository_url, passphrase_env, key_file, recovery_key_env)
    with (
        Workspace.from_environment() as workspace,
        cancellable("the repair is ending") as cancel,
        repository_access.one(workspace, where) as (_, repository),
    ):
        plan = plan_repair(repository, progress.Remarks(), cancel)
        if plan.is_needed and not dry_run:
            confirmed(f"The index will be written anew from {plan.packs} packs.", "Go on?", yes=yes)
            execute_repair(repository, plan, cancel)
    if as_json:
        output.document(_repair_document(plan, dry_run=dry_run))
    else:
        _show_repair(plan, dry_run=dry_run)


def _repair_document(plan: RepairPlan, *, dry_run: bool) -> dict[str, Any]:
    names = ("unreadable", "missing", "damaged_segments", "unindexed")
    lists = {name: list(getattr(plan, name)) for name in names}
    return {"packs": plan.packs, **lists, "lost_chunks": len(plan.lost_chunks), "dry_run": dry_run}


def _show_repair(plan: RepairPlan, *, dry_run: bool) -> None:
    if not plan.is_needed:
        output.result(f"The index agrees with all {plan.packs} packs: nothing to repair.")
        return
    rows = {
        "index segments damaged": plan.damaged_segments,
        "packs not in the index": plan.unindexed,
        "packs with an unreadable table": plan.unreadable,
        "packs missing": plan.missing,
    }
    for what, found in rows.items():
        if found:
            output.result(f"{len(found)} {what}.")
    if plan.lost_chunks:
        output.result(
            f"{len(plan.lost_chunks)} chunks are lost with them; the next backups store again what they meet."
        )
        output.say("See which restore points need them: vbm repository check", style="cyan")
    output.result("Nothing was changed." if dry_run else "The index was written anew.")
