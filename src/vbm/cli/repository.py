"""``vbm repository``: where restore points are kept."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vbm.cli import access, output, progress, repository_keys, repository_upkeep, secrets, verdicts
from vbm.cli import options as access_options
from vbm.cli.completion import complete_repository
from vbm.cli.confirm import confirmed
from vbm.cli.groups import examples, group
from vbm.cli.options import Json, RepositoryUrl, Utc, Yes
from vbm.cli.output import Column
from vbm.cli.signals import cancellable
from vbm.errors import InputError
from vbm.later import later
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import KeyFile, KeySource, NoKey, Passphrase
from vbm.services import verify
from vbm.services.workspace import Workspace
from vbm.units import format_size, parse_size

if TYPE_CHECKING:
    from vbm.catalog import repositories as records
    from vbm.services import documents, repositories
else:
    records = later("vbm.catalog.repositories")
    documents = later("vbm.services.documents")
    repositories = later("vbm.services.repositories")

app = group("Create and look after repositories, where restore points are kept.")
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The repository's name.", autocompletion=complete_repository)
]


OptionalName = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="The repository's name; may be left out where only one is known.",
        autocompletion=complete_repository,
    ),
]


class Compression(StrEnum):
    """How hard chunks are compressed: zstd 1, 3 and 9."""

    FAST = "fast"
    DEFAULT = "default"
    ARCHIVE = "archive"


PassphraseEnv = Annotated[
    str | None, typer.Option(metavar="VAR", help="Environment variable that holds the passphrase.")
]
KeyFilePath = Annotated[
    Path | None,
    typer.Option("--key-file", metavar="FILE", help="File whose content is the key; keep a copy elsewhere."),
]
NoEncryption = Annotated[
    bool, typer.Option("--no-encryption", help="Keep data readable by whoever can read it.")
]


@app.command(
    "create",
    epilog=examples(
        "vbm repository create main file:///backup/vbm",
        "vbm repository create main file:///backup/vbm --passphrase-env REPO_PASSPHRASE --compression archive",
    ),
)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it from now on.")],
    url: Annotated[
        str, typer.Argument(metavar="URL", help="Where it lies: file:///path, on a disk or an NFS mount.")
    ],
    *,
    chunk_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Unit of deduplication: 256KiB to 4MiB, a power of two."),
    ] = None,
    compression: Annotated[Compression, typer.Option(help="How hard to compress.")] = Compression.DEFAULT,
    passphrase_env: PassphraseEnv = None,
    key_file: KeyFilePath = None,
    no_encryption: NoEncryption = False,
    as_json: Json = False,
) -> None:
    """Create a repository, encrypted unless you say otherwise.

    Without an option for the key you are asked for a passphrase. It is kept sealed in the product's
    database so that backups run unattended; keep it somewhere else too, for without it (or a recovery
    key) nothing can be restored.
    """
    options = RepositoryOptions(compression=compression.value)
    if chunk_size is not None:
        options = RepositoryOptions(chunk_size_bytes=parse_size(chunk_size), compression=compression.value)
    with Workspace.from_environment() as workspace:
        repositories.check_new(workspace, name)
        key = _new_key(passphrase_env, key_file, no_encryption)
        record = repositories.create(workspace, name, url, key, options)
    _created(record, "Created", as_json=as_json)


@app.command(
    "add", epilog=examples("vbm repository add main file:///backup/vbm --passphrase-env REPO_PASSPHRASE")
)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it from now on.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="Where it lies.")],
    *,
    passphrase_env: PassphraseEnv = None,
    key_file: KeyFilePath = None,
    no_encryption: NoEncryption = False,
    as_json: Json = False,
) -> None:
    """Make an existing repository known here, such as after a move to another machine."""
    with Workspace.from_environment() as workspace:
        repositories.check_new(workspace, name)
        key = _new_key(passphrase_env, key_file, no_encryption, twice=False)
        record = repositories.add(workspace, name, url, key)
    _created(record, "Added", as_json=as_json)


@app.command("list", epilog=examples("vbm repository list", "vbm repository list --json"))
def list_(as_json: Json = False, utc: Utc = False) -> None:
    """List the repositories that are known."""
    with Workspace.from_environment() as workspace:
        known = repositories.listing(workspace)
    if as_json:
        output.document([documents.repository_document(r) for r in known])
    elif not known:
        output.say("No repository is known yet. Create one:")
        output.say("  vbm repository create NAME file:///path", style="cyan")
    else:
        columns = (
            Column("Name"),
            Column("Address"),
            Column("Encrypted"),
            Column("Chunks", right=True, from_width=100),
            Column("Compression", from_width=100),
            Column("Known since", from_width=100),
        )
        output.table(columns, [_row(r, utc=utc) for r in known])


@app.command(
    "check",
    epilog=examples(
        "vbm repository check main --read-data",
        "vbm repository check --repository-url file:///backup/vbm --passphrase-env REPO_PASSPHRASE",
    ),
)
def check(
    name: OptionalName = None,
    *,
    read_data: Annotated[
        bool, typer.Option("--read-data", help="Read, decrypt and hash every chunk, not documents alone.")
    ] = False,
    as_json: Json = False,
    repository_url: RepositoryUrl = None,
    passphrase_env: access_options.PassphraseEnv = None,
    key_file: access_options.KeyFileOption = None,
    recovery_key_env: access_options.RecoveryKeyEnv = None,
) -> None:
    """Check every restore point of a repository. Exit code 5 where anything is damaged, each place named."""
    where = access.where(name, repository_url, passphrase_env, key_file, recovery_key_env)
    with (
        Workspace.from_environment() as workspace,
        cancellable("the check is ending") as cancel,
        progress.shown(progress.VERIFY_PHASES) as listener,
    ):
        result = verify.everything(workspace, where, listener, cancel, read_data=read_data)
    verdicts.show(result.to_document(), as_json=as_json)


app.command("keys", epilog=repository_keys.EXAMPLES)(repository_keys.keys)
app.command("stats", epilog=repository_upkeep.STATS_EXAMPLES)(repository_upkeep.stats)
app.command("gc", epilog=repository_upkeep.GC_EXAMPLES)(repository_upkeep.gc)
app.command("repair", epilog=repository_upkeep.REPAIR_EXAMPLES)(repository_upkeep.repair)


@app.command("remove", epilog=examples("vbm repository remove main"))
def remove(name: Name, yes: Yes = False) -> None:
    """Forget a repository and its stored key. Its restore points stay where they are."""
    with Workspace.from_environment() as workspace:
        record = repositories.get(workspace, name)
        lost = (
            " The passphrase stored here is forgotten too: be sure to have it elsewhere."
            if record.key_kind is records.KeyKind.PASSPHRASE
            else ""
        )
        confirmed(
            f"{record.name} at {record.url} will be forgotten; its data stays.{lost}", "Remove it?", yes=yes
        )
        repositories.forget(workspace, record.id)
    output.result(f"Removed {record.name}; its data is still at {record.url}.")


def _new_key(
    variable: str | None, path: Path | None, no_encryption: bool, *, twice: bool = True
) -> repositories.Key:
    given: KeySource | None = access.given_key(variable, path)
    if no_encryption:
        if given is not None:
            raise InputError("--no-encryption contradicts a key")
        return repositories.Key(NoKey())
    if isinstance(given, KeyFile) and path is not None:
        return repositories.Key(given, file=str(path.expanduser().absolute()))
    if given is not None:
        return repositories.Key(given)
    otherwise = "add --passphrase-env VAR, --key-file FILE or --no-encryption"
    return repositories.Key(
        Passphrase(secrets.asked("Passphrase of the repository", otherwise=otherwise, twice=twice))
    )


def _created(record: records.RepositoryRecord, verb: str, *, as_json: bool) -> None:
    if as_json:
        output.document(documents.repository_document(record))
        return
    encrypted = "not encrypted" if record.key_kind is records.KeyKind.NONE else "encrypted"
    output.result(
        f"{verb} {record.name} at {record.url}, {encrypted}, chunks of {format_size(record.chunk_size_bytes)}."
    )
    if record.key_kind is not records.KeyKind.NONE:
        output.say("Keep the key in a second place, or make a recovery key to print:", style="dim")
        output.say(f"  vbm repository keys {shlex.quote(record.name)} add --recovery", style="cyan")


def _row(record: records.RepositoryRecord, *, utc: bool) -> tuple[object, ...]:
    kinds = records.KeyKind
    encrypted = {kinds.NONE: "no", kinds.PASSPHRASE: "passphrase", kinds.KEY_FILE: "key file"}
    return (
        record.name,
        record.url,
        encrypted[record.key_kind],
        format_size(record.chunk_size_bytes),
        record.compression,
        output.when(record.created, utc=utc),
    )
