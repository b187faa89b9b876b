"""``vbm job``: what is backed up, when, where to and how long it is kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from vbm.catalog.jobs import JobRecord
from vbm.catalog.runs import ENDED, RunRecord
from vbm.cli import job_preview, output
from vbm.cli.completion import complete_repository, complete_vcenter
from vbm.cli.confirm import confirmed
from vbm.cli.groups import examples, group
from vbm.cli.options import DryRun, Json, Utc, Yes
from vbm.cli.output import Column
from vbm.cli.run import run_json, show_runs
from vbm.cli.signals import cancellable
from vbm.clock import rfc3339
from vbm.errors import InputError, VbmError
from vbm.services import jobs, repositories, runs, vcenters
from vbm.services.workspace import Workspace
from vbm.units import format_duration, parse_size

app = group("Create jobs and run them: which VMs, when, where to, how long kept.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The job's name or id.")]
Vm = Annotated[
    list[str] | None,
    typer.Option(
        "--vm", metavar="VM", help="Name, pattern such as 'web*', or instance UUID; may be repeated."
    ),
]
Folder = Annotated[
    list[str] | None, typer.Option(metavar="PATH", help="Every VM in this folder and below; may be repeated.")
]
Pool = Annotated[
    list[str] | None, typer.Option("--resource-pool", metavar="NAME", help="Every VM in this resource pool.")
]
Tag = Annotated[
    list[str] | None,
    typer.Option(metavar="TAG", help="Every VM with this vSphere tag, as NAME or CATEGORY:NAME."),
]
Attribute = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Every VM whose custom attribute has this value or pattern."),
]
Exclude = Annotated[list[str] | None, typer.Option(metavar="VM", help="But not these; may be repeated.")]
ExcludeTag = Annotated[list[str] | None, typer.Option(metavar="TAG", help="But none with this vSphere tag.")]
RepositoryName = Annotated[
    str | None,
    typer.Option(
        "--repository", metavar="NAME", help="Where to keep it.", autocompletion=complete_repository
    ),
]
VcenterName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The vCenter; may be left out where only one is known.",
        autocompletion=complete_vcenter,
    ),
]
_WHEN: Final = "When"
_KEEP: Final = "How long it is kept"
_HOW: Final = "How"
Cron = Annotated[
    str | None,
    typer.Option(
        metavar="CRON",
        rich_help_panel=_WHEN,
        help="Minute hour day month weekday, such as '0 3 * * *'; 'none' for no schedule.",
    ),
]
Zone = Annotated[
    str | None,
    typer.Option(metavar="ZONE", rich_help_panel=_WHEN, help="Such as Europe/Paris; UTC if none is given."),
]
WindowOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOURS", rich_help_panel=_WHEN, help="Read only then: 22:00-06:00, or mon,tue 22:00-06:00."
    ),
]
WindowEnd = Annotated[
    str | None,
    typer.Option(
        metavar="end|pause", rich_help_panel=_WHEN, help="What becomes of a run when the window closes."
    ),
]
KeepLast = Annotated[
    int | None, typer.Option(min=0, metavar="N", rich_help_panel=_KEEP, help="The last so many.")
]
KeepDays = Annotated[
    int | None, typer.Option(min=0, metavar="DAYS", rich_help_panel=_KEEP, help="Those of the last days.")
]
Gfs = Annotated[
    str | None,
    typer.Option(
        metavar="D,W,M,Y", rich_help_panel=_KEEP, help="Newest of so many days, weeks, months, years."
    ),
]
Mode = Annotated[
    str | None, typer.Option(metavar="auto|full", rich_help_panel=_HOW, help="full reads everything.")
]
Quiesce = Annotated[
    bool | None, typer.Option("--quiesce/--no-quiesce", rich_help_panel=_HOW, help="Bring the guest to rest.")
]
Parallel = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", rich_help_panel=_HOW, help="VMs at once; 0 for no limit of its own."),
]
Limit = Annotated[
    str | None,
    typer.Option(metavar="SIZE", rich_help_panel=_HOW, help="Read at most so much a second and VM."),
]
Attempts = Annotated[
    int | None, typer.Option(min=1, metavar="N", rich_help_panel=_HOW, help="How often a run is tried.")
]
RetryWait = Annotated[
    int | None,
    typer.Option(min=0, metavar="SECONDS", rich_help_panel=_HOW, help="The wait between attempts."),
]
Deadline = Annotated[
    int | None,
    typer.Option(
        min=0, metavar="SECONDS", rich_help_panel=_HOW, help="A run is stopped after so long; 0: never."
    ),
]
SnapshotTimeout = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="SECONDS",
        rich_help_panel=_HOW,
        help="Tell people of a snapshot that is older than this.",
    ),
]
Verify = Annotated[
    str | None,
    typer.Option(
        metavar="none|quick|full",
        rich_help_panel=_HOW,
        help="Check each new restore point; full reads it back.",
    ),
]
FromFile = Annotated[
    Path | None,
    typer.Option("--from-file", metavar="FILE", help="A job document as JSON; - reads standard input."),
]


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
    document = _document(from_file)
    given = _changes(locals())
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
    given = _document(from_file) | _changes(locals())
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
    with Workspace.from_environment() as workspace:
        known = jobs.listing(workspace)
        names = _names(workspace)
    if as_json:
        output.document([_json(record) for record in known])
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
                    record.name,
                    _selection_words(record.document["selection"]),
                    names.get(record.repository_id, "removed"),
                    _schedule_words(record),
                    output.when(record.next_run, utc=utc, seconds=False) if record.next_run else "–",
                    record.last_state or "–",
                )
                for record in known
            ],
        )


@app.command("show", epilog=examples("vbm job show nightly", "vbm job show nightly --json"))
def show(name: Name, as_json: Json = False, utc: Utc = False) -> None:
    """Show one job: everything that is set, and the next times at which it runs."""
    with Workspace.from_environment() as workspace:
        record = jobs.get(workspace, name)
        upcoming = jobs.upcoming(record, workspace.clock.now())
        names = _names(workspace)
    if as_json:
        output.document(_json(record) | {"upcoming": [rfc3339(slot) for slot in upcoming]})
        return
    document = record.document
    limits, retries = document["limits"], document["retries"]
    output.facts(
        [
            ("Job", record.name),
            ("Id", record.id),
            ("Protects", _selection_words(document["selection"])),
            ("vCenter", names.get(record.vcenter_id, "removed")),
            ("Repository", names.get(record.repository_id, "removed")),
            ("Schedule", _schedule_words(record)),
            ("Next runs", ", ".join(output.when(s, utc=utc, seconds=False) for s in upcoming) or "none"),
            ("Window", document["schedule"]["window"] or "any time"),
            ("Retention", _retention_words(document["retention"])),
            ("Mode", document["mode"]),
            ("VMs at once", limits["parallel_vms"] or "no limit of its own"),
            ("Attempts", f"{retries['attempts']}, {format_duration(retries['wait_seconds'])} apart"),
            ("Snapshot time-out", format_duration(document["snapshot_timeout_seconds"])),
            ("Last result", record.last_state or "none yet"),
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
    with Workspace.from_environment() as workspace:
        record, execution = jobs.run_now(workspace, name, vms=vm or (), mode=mode or "")
        found = _waited(workspace, execution) if wait else []
    if as_json:
        output.document({"execution_id": execution, "runs": [run_json(r) for r in found]})
    elif wait:
        show_runs(found, utc=False)
    else:
        output.result(f"{record.name} will be run by the next free worker.")
        output.say("See how it goes: vbm run list", style="dim")
    if any(r.state == "failed" for r in found):
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


# -- from options to the document


def _document(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        document = json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(f"the job document {path} can't be read: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"the job document {path} is not a JSON object")
    return document


def _changes(given: dict[str, Any]) -> dict[str, Any]:
    """The part of a job document that the options say."""
    changes = {
        "vcenter_id": given["vcenter"],
        "repository_id": given["repository"],
        "selection": _selection(given),
        "schedule": _schedule(given),
        "retention": _retention(given),
        "mode": given["mode"],
        "quiesce": given["quiesce"],
        "limits": _set(
            parallel_vms=given["parallel"],
            bytes_per_second=parse_size(given["limit"]) if given["limit"] else None,
        ),
        "retries": _set(attempts=given["attempts"], wait_seconds=given["retry_wait"]),
        "deadline_seconds": given["deadline"],
        "snapshot_timeout_seconds": given["snapshot_timeout"],
        "verify": given["verify"],
    }
    return {name: value for name, value in changes.items() if value not in (None, {})}


def _set(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _selection(given: dict[str, Any]) -> dict[str, Any]:
    chosen = _set(
        vms=given["vm"] or None,
        folders=given["folder"] or None,
        resource_pools=given["resource_pool"] or None,
        tags=given["tag"] or None,
        attributes=given["attribute"] or None,
    )
    exclude = _set(vms=given["exclude"] or None, tags=given["exclude_tag"] or None)
    return chosen | ({"exclude": exclude} if exclude else {})


def _schedule(given: dict[str, Any]) -> dict[str, Any]:
    cron = given["cron"]
    part = _set(timezone=given["timezone"], window=given["window"], window_end=given["window_end"])
    return part | ({"cron": None if cron == "none" else cron} if cron is not None else {})


def _retention(given: dict[str, Any]) -> dict[str, Any]:
    part = _set(keep_last=given["keep_last"], keep_days=given["keep_days"])
    if given["gfs"] is None:
        return part
    try:
        daily, weekly, monthly, yearly = (int(count) for count in given["gfs"].split(","))
    except ValueError as error:
        raise InputError(
            f"--gfs is {given['gfs']!r}", hint="four counts: days, weeks, months, years, such as 7,4,12,2"
        ) from error
    return part | {"gfs": {"daily": daily, "weekly": weekly, "monthly": monthly, "yearly": yearly}}


# -- showing


def _json(record: JobRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "enabled": record.enabled,
        "next_run": rfc3339(record.next_run) if record.next_run and record.enabled else None,
        "last_started": rfc3339(record.last_started) if record.last_started else None,
        "last_success": rfc3339(record.last_success) if record.last_success else None,
        "last_state": record.last_state or None,
        "job": record.document,
    }


def _show_changed(record: JobRecord, done: str, *, as_json: bool) -> None:
    if as_json:
        output.document(_json(record))
        return
    output.result(f"{done} {record.name}: {_selection_words(record.document['selection'])}.")
    if record.next_run:
        output.result(f"It runs next at {output.when(record.next_run, utc=False, seconds=False)}.")
    else:
        output.say("It has no schedule or is disabled: vbm job run " + record.name, style="dim")


def _names(workspace: Workspace) -> dict[str, str]:
    names = {vcenter.id: vcenter.name for vcenter in vcenters.listing(workspace)}
    return names | {repository.id: repository.name for repository in repositories.listing(workspace)}


def _selection_words(selection: dict[str, Any]) -> str:
    parts = [*selection["vms"]]
    parts += [f"folder {path}" for path in selection["folders"]]
    parts += [f"pool {name}" for name in selection["resource_pools"]]
    parts += [f"tag {name}" for name in selection["tags"]] + selection["attributes"]
    exclude = selection["exclude"]
    excluded = [*(exclude.get("vms") or ()), *(f"tag {name}" for name in exclude.get("tags") or ())]
    return ", ".join(parts) + (f" but not {', '.join(excluded)}" if excluded else "")


def _schedule_words(record: JobRecord) -> str:
    schedule = record.document["schedule"]
    if not schedule["cron"]:
        return "by hand"
    words = f"{schedule['cron']} {schedule['timezone']}"
    return words if record.enabled else f"{words} (disabled)"


def _retention_words(retention_part: dict[str, Any]) -> str:
    gfs = retention_part["gfs"]
    words = [f"the last {retention_part['keep_last']}"] if retention_part["keep_last"] else []
    words += [f"{retention_part['keep_days']} days"] if retention_part["keep_days"] else []
    words += [f"{count} {period}" for period, count in gfs.items() if count]
    return "keeps " + (", ".join(words) if words else "everything")


def _waited(workspace: Workspace, execution: str) -> list[RunRecord]:
    with cancellable("only the waiting ends; the runs go on") as cancel:
        while True:
            record, found = runs.of_execution(workspace, execution)
            if record is not None and record.state == "failed":
                raise VbmError(record.error or "the job could not begin")
            if record is not None and record.state == "started" and all(r.state in ENDED for r in found):
                return found
            cancel.wait(0.5)
