"""``vbm job``: what is backed up, when, where to and how long it is kept."""

from __future__ import annotations

from typing import Annotated

import typer

from vbm.catalog.jobs import JobRecord
from vbm.cli import job_fields, job_preview, output, site
from vbm.cli.confirm import confirmed
from vbm.cli.groups import examples, group
from vbm.cli.job_options import (
    Attempts,
    Attribute,
    Cron,
    Deadline,
    Exclude,
    ExcludeTag,
    Folder,
    FromFile,
    Gfs,
    KeepDays,
    KeepLast,
    Limit,
    Mode,
    Name,
    Parallel,
    Pool,
    Quiesce,
    RepositoryName,
    RetryWait,
    SnapshotTimeout,
    Tag,
    VcenterName,
    Verify,
    Vm,
    WindowEnd,
    WindowOption,
    Zone,
)
from vbm.cli.options import DryRun, Json, Utc, Yes
from vbm.cli.output import Column
from vbm.cli.run import show_runs
from vbm.cli.signals import cancellable
from vbm.cli.site import Document
from vbm.clock import rfc3339
from vbm.errors import InputError
from vbm.policy.job import FIELDS, Job
from vbm.policy.words import retention_words, schedule_words, selection_words
from vbm.services import jobs, repositories, vcenters
from vbm.services.documents import job_document
from vbm.services.workspace import Workspace
from vbm.units import format_duration

app = group("Create jobs and run them: which VMs, when, where to, how long kept.")


@app.command(
    "create",
    epilog=examples(
        "vbm job create nightly --vm 'web*' --repository main --cron '0 3 * * *' --keep-days 14",
        "vbm job create finance --folder Finance --repository main --gfs 7,4,12,2 --window 22:00-06:00",
        "vbm job show nightly --json | jq .job | sed s/nightly/weekly/ | vbm job create --from-file -",
    ),
)
def create(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="What to call it.")] = None,
    *,
    repository: RepositoryName = None,
    vcenter: VcenterName = None,
    vm: Vm = None,
    folder: Folder = None,
    resource_pool: Pool = None,
    tag: Tag = None,
    attribute: Attribute = None,
    exclude: Exclude = None,
    exclude_tag: ExcludeTag = None,
    cron: Cron = None,
    timezone: Zone = None,
    window: WindowOption = None,
    window_end: WindowEnd = None,
    keep_last: KeepLast = None,
    keep_days: KeepDays = None,
    gfs: Gfs = None,
    mode: Mode = None,
    quiesce: Quiesce = None,
    parallel: Parallel = None,
    limit: Limit = None,
    attempts: Attempts = None,
    retry_wait: RetryWait = None,
    deadline: Deadline = None,
    snapshot_timeout: SnapshotTimeout = None,
    verify: Verify = None,
    from_file: FromFile = None,
    as_json: Json = False,
) -> None:
    """Create a job. Without a schedule it runs when told to; without a retention rule everything is kept.

    Jobs run while `vbm serve` or `vbm worker` does.
    """
    document = job_fields.from_file(from_file)
    given = job_fields.changes(locals())
    if name is not None:
        given["name"] = name
    with Workspace.from_environment() as workspace:
        if "vcenter_id" not in given | document:
            given["vcenter_id"] = vcenters.get(workspace, None).name
        if "repository_id" not in given | document:
            given["repository_id"] = repositories.get_or_only(workspace, None).name
        record = jobs.create(workspace, document | given)
        _show_changed(record, "Created", as_json=as_json)


@app.command(
    "update",
    epilog=examples(
        "vbm job update nightly --cron '30 2 * * *'", "vbm job update nightly --keep-days 30 --keep-last 3"
    ),
)
def update(
    name: Name,
    *,
    rename: Annotated[str | None, typer.Option(metavar="NAME", help="A new name.")] = None,
    repository: RepositoryName = None,
    vcenter: VcenterName = None,
    vm: Vm = None,
    folder: Folder = None,
    resource_pool: Pool = None,
    tag: Tag = None,
    attribute: Attribute = None,
    exclude: Exclude = None,
    exclude_tag: ExcludeTag = None,
    cron: Cron = None,
    timezone: Zone = None,
    window: WindowOption = None,
    window_end: WindowEnd = None,
    keep_last: KeepLast = None,
    keep_days: KeepDays = None,
    gfs: Gfs = None,
    mode: Mode = None,
    quiesce: Quiesce = None,
    parallel: Parallel = None,
    limit: Limit = None,
    attempts: Attempts = None,
    retry_wait: RetryWait = None,
    deadline: Deadline = None,
    snapshot_timeout: SnapshotTimeout = None,
    verify: Verify = None,
    from_file: FromFile = None,
    as_json: Json = False,
) -> None:
    """Change what is given and nothing else. Runs under way go on as they began."""
    given = job_fields.from_file(from_file) | job_fields.changes(locals())
    if rename is not None:
        given["name"] = rename
    if not given:
        raise InputError("nothing is to be changed", hint="say what, such as --cron '0 3 * * *'")
    with Workspace.from_environment() as workspace:
        record = jobs.update(workspace, name, given)
        _show_changed(record, "Changed", as_json=as_json)


@app.command("list", epilog=examples("vbm job list", "vbm job list --json"))
def list_(as_json: Json = False, utc: Utc = False) -> None:
    """List jobs: what they protect, when they run next, how they ended last."""
    with site.opened() as here:
        known = here.jobs()
        names = here.names() if known and not as_json else {}
    if as_json:
        output.document([_json(document) for document in known])
    elif not known:
        output.say("No job is known yet. Create one:")
        output.say("  vbm job create nightly --vm 'web*' --cron '0 3 * * *' --keep-days 14", style="cyan")
    else:
        columns = (
            Column("Name"),
            Column("Protects"),
            Column("Repository", from_width=100),
            Column("Schedule"),
            Column("Next run"),
            Column("Last result"),
        )
        output.table(
            columns,
            [
                (
                    document["name"],
                    selection_words(_job(document).selection),
                    names.get(document["repository_id"], "removed"),
                    _schedule(document),
                    output.stamp(document["next_run"], utc=utc, seconds=False)
                    if document["next_run"]
                    else "–",
                    document["last_state"] or "–",
                )
                for document in known
            ],
        )


@app.command("show", epilog=examples("vbm job show nightly", "vbm job show nightly --json"))
def show(name: Name, as_json: Json = False, utc: Utc = False) -> None:
    """Show one job: everything that is set, and the next times at which it runs."""
    with site.opened() as here:
        document = here.job(name)
        names = {} if as_json else here.names()
    if as_json:
        output.document(_json(document))
        return
    job, limits, retries = _job(document), document["limits"], document["retries"]
    upcoming = [output.stamp(slot, utc=utc, seconds=False) for slot in document["upcoming"]]
    output.facts(
        [
            ("Job", document["name"]),
            ("Id", document["id"]),
            ("Protects", selection_words(job.selection)),
            ("vCenter", names.get(document["vcenter_id"], "removed")),
            ("Repository", names.get(document["repository_id"], "removed")),
            ("Schedule", _schedule(document)),
            ("Next runs", ", ".join(upcoming) or "none"),
            ("Window", document["schedule"]["window"] or "any time"),
            ("Retention", retention_words(job.rules)),
            ("Mode", document["mode"]),
            ("VMs at once", limits["parallel_vms"] or "no limit of its own"),
            ("Attempts", f"{retries['attempts']}, {format_duration(retries['wait_seconds'])} apart"),
            ("Snapshot time-out", format_duration(document["snapshot_timeout_seconds"])),
            ("Last result", document["last_state"] or "none yet"),
        ]
    )


@app.command("enable", epilog=examples("vbm job enable nightly"))
def enable(name: Name) -> None:
    """Let the schedule count again, from now on."""
    with Workspace.from_environment() as workspace:
        record = jobs.update(workspace, name, {"enabled": True})
    output.result(f"Enabled {record.name}.")


@app.command("disable", epilog=examples("vbm job disable nightly"))
def disable(name: Name) -> None:
    """Let the schedule rest. Runs under way go on; run the job by hand as you like."""
    with Workspace.from_environment() as workspace:
        record = jobs.update(workspace, name, {"enabled": False})
    output.result(f"Disabled {record.name}.")


@app.command("delete", epilog=examples("vbm job delete nightly"))
def delete(name: Name, yes: Yes = False) -> None:
    """Delete a job. Its restore points stay, and nothing drops them any more; its runs stay in the history."""
    with Workspace.from_environment() as workspace:
        record = jobs.get(workspace, name)
        confirmed(
            f"The job {record.name} will be deleted. Its restore points stay, and no retention drops them any more.",
            "Delete it?",
            yes=yes,
        )
        jobs.delete(workspace, record.id)
    output.result(f"Deleted {record.name}.")


@app.command(
    "run", epilog=examples("vbm job run nightly", "vbm job run nightly --vm web01 --mode full --wait --json")
)
def run(
    name: Name,
    *,
    vm: Annotated[
        list[str] | None, typer.Option(metavar="VM", help="Only this VM of the job; may be repeated.")
    ] = None,
    mode: Mode = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when all its runs have ended.")] = False,
    as_json: Json = False,
) -> None:
    """Run a job now. A worker does it: this command returns at once unless told to wait."""
    if mode not in {None, "auto", "full"}:
        raise InputError(f"--mode is {mode!r}", hint="use auto or full")
    with site.opened() as here:
        execution = here.run_job(name, vm or (), mode or "")
        found: list[Document] = []
        if wait:
            with cancellable("only the waiting ends; the runs go on") as cancel:
                found = here.wait_for_job(execution, cancel)
    if as_json:
        output.document({"execution_id": execution["execution_id"], "runs": found})
    elif wait:
        show_runs(found, utc=False)
    else:
        output.result(f"{output.clean(execution['job'])} will be run by the next free worker.")
        output.say("See how it goes: vbm run list", style="dim")
    if any(run["state"] == "failed" for run in found):
        raise typer.Exit(1)


@app.command("retention", epilog=examples("vbm job retention nightly --dry-run"))
def retention(name: Name, dry_run: DryRun = False, as_json: Json = False, utc: Utc = False) -> None:
    """Show which restore points of a job stay and which the next successful backup will drop, and why.

    Nothing is dropped by this command: retention runs after each successful backup.
    """
    _ = dry_run
    with Workspace.from_environment() as workspace:
        plans = jobs.retention(workspace, name)
    rows = [
        {
            "vm": vm_name,
            "restore_point": decision.point.id,
            "taken": decision.point.taken,
            "keep": decision.keep,
            "reasons": list(decision.reasons),
        }
        for vm_name, plan in plans.values()
        for decision in plan.decisions
    ]
    if as_json:
        output.document([row | {"taken": rfc3339(row["taken"])} for row in rows])  # type: ignore[arg-type]
    elif not rows:
        output.result("This job has made no restore point yet.")
    else:
        columns = (
            Column("VM"),
            Column("Restore point", whole=True),
            Column("Taken"),
            Column("Stays because"),
        )
        output.table(
            columns,
            [
                (
                    row["vm"],
                    row["restore_point"],
                    output.when(row["taken"], utc=utc),  # type: ignore[arg-type]
                    ", ".join(row["reasons"]) if row["keep"] else "it goes",  # type: ignore[arg-type]
                )
                for row in rows
            ],
        )


app.command("preview", epilog=job_preview.EXAMPLES)(job_preview.preview)


def _json(document: Document) -> Document:
    """``job`` alone is what ``--from-file`` takes."""
    return document | {"job": {name: document[name] for name in FIELDS}}


def _job(document: Document) -> Job:
    return Job.from_document({name: document[name] for name in FIELDS})


def _show_changed(record: JobRecord, done: str, *, as_json: bool) -> None:
    if as_json:
        output.document(_json(job_document(record)))
        return
    output.result(f"{done} {record.name}: {selection_words(record.job.selection)}.")
    if record.next_run:
        output.result(f"It runs next at {output.when(record.next_run, utc=False, seconds=False)}.")
    else:
        output.say("It has no schedule or is disabled: vbm job run " + record.name, style="dim")


def _schedule(document: Document) -> str:
    schedule = _job(document).schedule
    words = schedule_words(schedule)
    return words if document["enabled"] or schedule is None else f"{words} (disabled)"
