"""``vbm channel``: where people are told."""

from __future__ import annotations

from typing import Annotated

import typer

from vbm.cli import output, secrets
from vbm.cli.confirm import confirmed
from vbm.cli.groups import examples, group
from vbm.cli.options import Json, Utc, Yes
from vbm.cli.output import Column
from vbm.errors import InputError
from vbm.policy.job import DEFAULT_EVENTS, EVENTS
from vbm.services import channels
from vbm.services.channels import NewChannel
from vbm.services.documents import channel_document
from vbm.services.workspace import Workspace

app = group("Tell people by mail, Slack, Teams, webhook and whatever else Apprise speaks.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The channel's name or id.")]


@app.command(
    "add",
    epilog=examples(
        "vbm channel add ops --url-env OPS_URL",
        "vbm channel add tickets --kind webhook --url-env HOOK_URL --secret-env HOOK_SECRET --on failure",
    ),
)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    *,
    url_env: Annotated[
        str | None,
        typer.Option(
            metavar="VAR",
            help="Environment variable with the address, such as mailtos://user:password@host?to=…; asked for if none.",
        ),
    ] = None,
    kind: Annotated[str, typer.Option(metavar="apprise|webhook", help="How to speak to it.")] = "apprise",
    secret_env: Annotated[
        str | None,
        typer.Option(metavar="VAR", help="Environment variable with the secret that signs a webhook."),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EVENT", help=f"Tell of this, of every job; may be repeated. {', '.join(EVENTS)}."
        ),
    ] = None,
    only_jobs: Annotated[
        bool, typer.Option("--only-jobs", help="Tell of nothing but what jobs name this channel for.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Add a channel. Its address is kept sealed, for it may hold a password.

    Without `--on` it is told of everything but plain successes.
    """
    if kind not in {"apprise", "webhook"}:
        raise InputError(f"--kind is {kind!r}", hint="use apprise or webhook")
    if secret_env and kind != "webhook":
        raise InputError("--secret-env is for webhooks")
    url = (
        secrets.from_variable(url_env)
        if url_env
        else secrets.asked("Address of the channel", otherwise="add --url-env VAR")
    )
    new = NewChannel(
        name=name,
        url=url,
        kind=kind,
        secret=secrets.from_variable(secret_env) if secret_env else "",
        events=() if only_jobs else tuple(on or DEFAULT_EVENTS),
    )
    with Workspace.from_environment() as workspace:
        record = channels.add(workspace, new)
    if as_json:
        output.document(channel_document(record))
        return
    output.result(f"Added {record.name}.")
    output.say(f"See whether it works: vbm channel test {record.name}", style="dim")


@app.command("list", epilog=examples("vbm channel list"))
def list_(as_json: Json = False, utc: Utc = False) -> None:
    """List channels and what became of the last message of each."""
    with Workspace.from_environment() as workspace:
        known = channels.listing(workspace)
        last = {c.id: next(iter(channels.messages(workspace, c.id, 1)), None) for c in known}
    if as_json:
        documents = []
        for c in known:
            message = last[c.id]
            state = {"state": message.state, "error": message.error or None} if message else None
            documents.append(channel_document(c) | {"last_message": state})
        output.document(documents)
    elif not known:
        output.say(
            "No channel is known yet: nobody is told of anything. Add one: vbm channel add NAME --url-env VAR"
        )
    else:
        rows = []
        for c in known:
            message = last[c.id]
            words = "none yet"
            if message:
                when = output.when(message.created, utc=utc)
                words = f"{message.state} {when}" + (f": {message.error}" if message.error else "")
            rows.append((c.name, c.kind, c.shown, ", ".join(c.events) or "as jobs say", words))
        columns = (
            Column("Name"),
            Column("Kind"),
            Column("Address"),
            Column("Told of"),
            Column("Last message"),
        )
        output.table(columns, rows)


@app.command("test", epilog=examples("vbm channel test ops"))
def test(name: Name) -> None:
    """Send a real message now."""
    with Workspace.from_environment() as workspace:
        record = channels.test(workspace, name)
    output.result(f"Sent a test message by {record.name}.")


@app.command("remove", epilog=examples("vbm channel remove ops"))
def remove(name: Name, yes: Yes = False) -> None:
    """Forget a channel and its address."""
    with Workspace.from_environment() as workspace:
        record = channels.get(workspace, name)
        confirmed(f"Nobody will be told by {record.name} any more.", "Remove it?", yes=yes)
        channels.remove(workspace, record.id)
    output.result(f"Removed {record.name}.")
