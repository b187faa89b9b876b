"""``vbm api-key``: keys for scripts."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from vbm.cli import output
from vbm.cli.groups import examples, group
from vbm.cli.options import Json, Utc
from vbm.cli.output import Column
from vbm.cli.user import FolderLimit, RoleOption, VcenterLimit, folders_of
from vbm.errors import InputError
from vbm.services import api_keys
from vbm.services.api_keys import NewApiKey
from vbm.services.documents import api_key_document
from vbm.services.workspace import Workspace

app = group("Give scripts a key of their own to the API.")


def expiry(text: str, now: datetime) -> datetime:
    """The moment that ``90d``, ``2027-01-31`` (its end, UTC) or an RFC 3339 time names. Raises InputError."""
    days = re.fullmatch(r"([1-9][0-9]{0,4})d", text.strip())
    if days:
        return now + timedelta(days=int(days[1]))
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InputError(
            f"not a time: {text!r}", hint="write 90d, 2027-01-31 or 2027-01-31T12:00:00Z"
        ) from error
    if len(text.strip()) == len("2027-01-31"):
        return found.replace(tzinfo=UTC) + timedelta(days=1)
    return found.replace(tzinfo=found.tzinfo or UTC)


@app.command(
    "create",
    epilog=examples(
        "vbm api-key create --name grafana --role viewer",
        "vbm api-key create --name ansible --role admin --expires 90d --json",
    ),
)
def create(
    *,
    name: Annotated[str, typer.Option(metavar="NAME", help="What it is for.")],
    role: RoleOption,
    expires: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="Its end: 90d, 2027-01-31 or a time; none: it has no end."),
    ] = None,
    vcenter: VcenterLimit = None,
    folder: FolderLimit = None,
    as_json: Json = False,
) -> None:
    """Create a key. It is shown this once; afterwards only its hash is known."""
    with Workspace.from_environment() as workspace:
        end = expiry(expires, workspace.clock.now()) if expires else None
        new = NewApiKey(name, role, end, tuple(vcenter or ()), folders_of(workspace, folder))
        record, key = api_keys.create(workspace, new)
    if as_json:
        output.document(api_key_document(record) | {"key": key})
        return
    output.result(key)
    output.say(
        f"Send it as X-API-Key. It is not shown again; vbm api-key revoke {record.id} ends it.", style="dim"
    )


@app.command("list", epilog=examples("vbm api-key list"))
def list_(as_json: Json = False, utc: Utc = False) -> None:
    """List keys, the newest first."""
    with Workspace.from_environment() as workspace:
        known = api_keys.listing(workspace)
    if as_json:
        output.document([api_key_document(record) for record in known])
        return
    if not known:
        output.say("There is no API key yet. Make one: vbm api-key create --name NAME --role viewer")
        return
    rows = [
        (
            record.id,
            record.name,
            record.role,
            output.when(record.expires, utc=utc) if record.expires else "never",
            output.when(record.last_used, utc=utc) if record.last_used else "never",
        )
        for record in known
    ]
    output.table((Column("Id"), Column("Name"), Column("Role"), Column("Ends"), Column("Last used")), rows)


@app.command("revoke", epilog=examples("vbm api-key revoke 20261123T101500000-1a2b3c4d5e"))
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")]) -> None:
    """End a key at once."""
    with Workspace.from_environment() as workspace:
        record = api_keys.revoke(workspace, key_id)
    output.result(f"Revoked {record.name}: it opens nothing any more.")
