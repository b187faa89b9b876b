"""``vbm repository keys``: the ways to open an encrypted repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from vbm.cli import access, output, secrets
from vbm.cli.confirm import confirmed
from vbm.cli.groups import examples
from vbm.cli.options import Json, KeyFileOption, PassphraseEnv, RecoveryKeyEnv, RepositoryUrl, Yes
from vbm.cli.output import Column
from vbm.errors import InputError, NotFoundError
from vbm.later import later
from vbm.repository.keys import KeyFile, KeySlot, KeySource, Passphrase, new_recovery_key
from vbm.repository.repository import Repository
from vbm.services import access as opening
from vbm.services import trail_by_hand
from vbm.services.workspace import Workspace

if TYPE_CHECKING:
    from vbm.services import repositories
else:
    repositories = later("vbm.services.repositories")

_ACTIONS: Final = ("list", "add", "revoke")
_USAGE: Final = "write: vbm repository keys NAME list, add or revoke SLOT"
EXAMPLES: Final = examples(
    "vbm repository keys main list",
    "vbm repository keys main add --recovery",
    "vbm repository keys main add --new-passphrase-env NEW_PASSPHRASE --label night-shift",
    "vbm repository keys main revoke 3f1c9a0b2d4e5f60",
)


def keys(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME list|add|revoke [SLOT]", help="The repository, what to do, and which slot."
        ),
    ],
    *,
    new_passphrase_env: Annotated[
        str | None, typer.Option(metavar="VAR", help="add: environment variable with the new passphrase.")
    ] = None,
    new_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="add: file whose content is the new key.")
    ] = None,
    recovery: Annotated[
        bool, typer.Option("--recovery", help="add: make a recovery key to print and lock away.")
    ] = False,
    label: Annotated[str, typer.Option(metavar="TEXT", help="add: what the key is for.")] = "",
    yes: Yes = False,
    as_json: Json = False,
    repository_url: RepositoryUrl = None,
    passphrase_env: PassphraseEnv = None,
    key_file: KeyFileOption = None,
    recovery_key_env: RecoveryKeyEnv = None,
) -> None:
    """List, add or revoke the keys that open a repository.

    Every key opens all of it; adding or revoking one rewrites no data. A recovery key is shown once.
    With `--repository-url` the name is left out.
    """
    name, action, slot = _parsed(words, direct=repository_url is not None)
    where = access.where(name, repository_url, passphrase_env, key_file, recovery_key_env)
    with Workspace.from_environment() as workspace, opening.one(workspace, where) as (label_of, repository):
        if action == "list":
            _list(repository, as_json=as_json)
        elif action == "add":
            made = _add(
                repository, _new_key(new_passphrase_env, new_key_file, recovery), label, as_json=as_json
            )
            trail_by_hand.record(
                workspace, where, "repository.key.add", [label_of], {"slot": made.id, "kind": made.kind}
            )
        else:
            _revoke(repository, slot, yes=yes)
            trail_by_hand.record(workspace, where, "repository.key.revoke", [label_of], {"slot": slot})
            if name is not None and not repositories.stored_key_opens(workspace, name):
                output.say(
                    "Warning: the key stored here no longer opens it. Remove the repository's name and add it "
                    "again with another key.",
                    style="yellow",
                )


def _parsed(words: list[str], *, direct: bool) -> tuple[str | None, str, str]:
    name = None if direct else words[0]
    rest = words if direct else words[1:]
    if not rest:
        return name, "list", ""
    if rest[0] not in _ACTIONS:
        raise InputError(f"what to do with the keys? One of {', '.join(_ACTIONS)}", hint=_USAGE)
    if len(rest) != (2 if rest[0] == "revoke" else 1):
        raise InputError(
            "which slot?" if len(rest) == 1 else f"too much: {' '.join(rest[1:])!r}", hint=_USAGE
        )
    return name, rest[0], rest[1] if len(rest) == 2 else ""


def _list(repository: Repository, *, as_json: bool) -> None:
    slots = repository.key_slots()
    if as_json:
        output.document([_json(s) for s in slots])
    elif not slots:
        output.say("The repository is not encrypted: it has no keys.")
    else:
        columns = (Column("Slot", whole=True), Column("Kind"), Column("Label"), Column("Created (UTC)"))
        output.table(columns, [(s.id, s.kind, s.label, s.created) for s in slots])


def _new_key(variable: str | None, path: Path | None, recovery: bool) -> KeySource:
    if sum((variable is not None, path is not None, recovery)) > 1:
        raise InputError("give one of --new-passphrase-env, --new-key-file and --recovery")
    if recovery:
        return new_recovery_key()
    if path is not None:
        return KeyFile(secrets.from_file(path))
    if variable is not None:
        return Passphrase(secrets.from_variable(variable))
    otherwise = "add --new-passphrase-env VAR, --new-key-file FILE or --recovery"
    return Passphrase(secrets.asked("New passphrase", otherwise=otherwise, twice=True))


def _add(repository: Repository, source: KeySource, label: str, *, as_json: bool) -> KeySlot:
    slot = repository.add_key(source, label=label)
    shown = getattr(source, "text", None) if slot.kind == "recovery" else None
    if as_json:
        output.document(_json(slot) | ({"recovery_key": shown} if shown else {}))
        return slot
    output.result(f"Added slot {slot.id} ({slot.kind}).")
    if shown:
        output.result(f"Recovery key, shown this once. Print it and lock it away:\n\n  {shown}\n")
    return slot


def _revoke(repository: Repository, slot: str, *, yes: bool) -> None:
    known = [s.id for s in repository.key_slots()]
    if slot not in known:
        raise NotFoundError(f"there is no key slot {slot!r}", hint=f"there are: {', '.join(known) or 'none'}")
    confirmed(f"Slot {slot} will no longer open the repository.", "Revoke it?", yes=yes)
    repository.revoke_key(slot)
    output.result(f"Revoked slot {slot}.")


def _json(slot: KeySlot) -> dict[str, object]:
    return {"id": slot.id, "kind": slot.kind, "label": slot.label, "created": slot.created}
