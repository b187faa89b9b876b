"""``vbm recover-catalog``: the product's database is lost, the repository is not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vbm.cli import output, secrets
from vbm.cli.access import given_key
from vbm.cli.groups import examples, single
from vbm.cli.options import Json, KeyFileOption, PassphraseEnv
from vbm.errors import InputError, NotAllowedError
from vbm.repository.keys import NoKey, Passphrase
from vbm.services import recovery
from vbm.services.repositories import Key
from vbm.services.workspace import Workspace
from vbm.settings import Settings

app = single()


@app.command(
    epilog=examples(
        "vbm recover-catalog --repository-url file:///backup/repository --name main --passphrase-env PASSPHRASE",
        "vbm recover-catalog --repository-url file:///backup/repository --key-file key --from-copy latest",
    )
)
def recover_catalog(
    *,
    repository_url: Annotated[str, typer.Option(metavar="URL", help="Where the repository lies.")],
    name: Annotated[
        str, typer.Option(metavar="NAME", help="What to call the repository where it is not known yet.")
    ] = "recovered",
    passphrase_env: PassphraseEnv = None,
    key_file: KeyFileOption = None,
    from_copy: Annotated[
        str | None,
        typer.Option(
            metavar="ID|latest",
            help="First bring back vCenters, jobs and channels from the daily copy of the database.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Build the list of restore points anew from a repository alone.

    Needs nothing but the repository and its key. A service on SQLite puts a copy of its database into each
    repository every day: `--from-copy latest` brings it back, vCenters, jobs and channels included. Passwords in
    it open only with the master key of then (`master.key` or `VBM_MASTER_KEY`); keep that apart. Restoring
    needs none of this: `vbm restore` works with `--repository-url` directly.
    """
    copy_id = ""
    if from_copy is not None:
        wanted = "" if from_copy == "latest" else from_copy
        key = _key(passphrase_env, key_file)
        copy_id = recovery.restore_copy(Settings.from_environment(), repository_url, key, wanted)
        output.say(f"The database is back from the copy {copy_id}.")
    with Workspace.from_environment() as workspace:
        try:
            found = recovery.recover(workspace, repository_url, _key(passphrase_env, key_file), name)
        except NotAllowedError:
            if passphrase_env or key_file or not secrets.interactive():
                raise
            asked = secrets.asked("Passphrase of the repository", otherwise="add --passphrase-env VAR")
            found = recovery.recover(workspace, repository_url, Key(Passphrase(asked)), name)
    if as_json:
        output.document(
            {
                "repository": found.repository.name,
                "added": found.added,
                "restore_points": found.points,
                "damaged": list(found.damaged),
                "copy": copy_id,
            }
        )
        return
    output.result(f"{found.points} restore points are known from {found.repository.name}.")
    for point in found.damaged:
        output.say(f"Warning: the manifest of {point} can't be read", style="yellow")


def _key(passphrase_env: str | None, key_file: Path | None) -> Key:
    source = given_key(passphrase_env, key_file)
    if source is None:
        return Key(NoKey())
    if key_file is not None:
        if not key_file.is_file():
            raise InputError(f"the key file {key_file} is not there")
        return Key(source, str(key_file.expanduser().absolute()))
    return Key(source)
