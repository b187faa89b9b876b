"""The options that say what a job is, the same for ``vbm job create`` and ``vbm job update``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from vbm.cli.completion import complete_repository, complete_vcenter

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
