"""Options that several commands share, so that they are called and explained alike everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from vbm.cli.completion import complete_repository, complete_vcenter

Json = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output, nothing else there.")
]
Utc = Annotated[bool, typer.Option("--utc", help="Show times in UTC instead of this machine's zone.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and change nothing.")]
VcenterOption = Annotated[
    str | None,
    typer.Option(
        "--vcenter",
        metavar="NAME",
        help="The vCenter; may be left out where only one is known.",
        autocompletion=complete_vcenter,
    ),
]
RepositoryOption = Annotated[
    str | None,
    typer.Option(
        "--repository",
        metavar="NAME",
        help="Look in this repository only.",
        autocompletion=complete_repository,
    ),
]
RestorePointId = Annotated[
    str,
    typer.Argument(metavar="ID", help="The restore point's id, or an unambiguous beginning or end of it."),
]
_DIRECT: Final = "A repository by its address, without any database"
RepositoryUrl = Annotated[
    str | None,
    typer.Option(
        "--repository-url",
        metavar="URL",
        help="Work on the repository at this address, without the product's database.",
        rich_help_panel=_DIRECT,
    ),
]
PassphraseEnv = Annotated[
    str | None,
    typer.Option(
        "--passphrase-env",
        metavar="VAR",
        help="Environment variable that holds the repository's passphrase.",
        rich_help_panel=_DIRECT,
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option("--key-file", metavar="FILE", help="The repository's key file.", rich_help_panel=_DIRECT),
]
RecoveryKeyEnv = Annotated[
    str | None,
    typer.Option(
        "--recovery-key-env",
        metavar="VAR",
        help="Environment variable that holds a recovery key of the repository.",
        rich_help_panel=_DIRECT,
    ),
]
