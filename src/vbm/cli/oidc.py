"""``vbm oidc``: the identity provider that people may sign in at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from vbm.catalog.oidc import OidcRecord
from vbm.cli import output, secrets
from vbm.cli.confirm import confirmed
from vbm.cli.groups import examples, group
from vbm.cli.options import Json, Yes
from vbm.errors import InputError
from vbm.security.roles import Role
from vbm.services import oidc
from vbm.services.oidc import NewOidc
from vbm.services.workspace import Workspace

app = group("Let people sign in at your identity provider (OpenID Connect).")


def _document(record: OidcRecord | None) -> dict[str, object]:
    if record is None:
        return {}
    return {
        "issuer": record.issuer,
        "client_id": record.client_id,
        "url": record.url,
        "redirect_url": record.url + oidc.BACK,
        "label": record.label,
        "groups_claim": record.groups_claim,
        "roles": dict(record.roles),
        "limits": {name: list(places) for name, places in record.limits},
        "default_role": record.default_role or None,
        "ca_file": record.ca_file or None,
    }


def _roles(given: list[str]) -> dict[str, Role]:
    roles = {}
    for pair in given:
        name, _, role = pair.rpartition("=")
        if not name or role not in {*Role}:
            raise InputError(
                f"--group {pair!r} names no group and role", hint="write it like --group backup-admins=admin"
            )
        roles[name] = Role(role)
    return roles


def _limits(given: list[str], roles: Mapping[str, Role]) -> list[tuple[str, str]]:
    limits = []
    for text in given:
        name = max((name for name in roles if text.startswith(f"{name}=")), key=len, default="")
        if not name:
            raise InputError(
                f"--limit {text!r} names no group that has a role",
                hint="write it like --limit it=lab/Tenants/Blue, and give the group a role with --group",
            )
        limits.append((name, text.removeprefix(f"{name}=")))
    return limits


@app.command(
    "set",
    epilog=examples(
        "vbm oidc set --issuer https://id.example.com/realms/main --client-id vbm --secret-env OIDC_SECRET "
        "--url https://backup.example.com --group backup-admins=admin --group it=operator",
        "vbm oidc set --issuer https://id.example.com --client-id vbm --url https://backup.example.com "
        "--default-role viewer",
    ),
)
def set_(
    *,
    issuer: Annotated[str, typer.Option(metavar="URL", help="As the provider calls itself, to the letter.")],
    client_id: Annotated[str, typer.Option(metavar="ID", help="What the provider calls this installation.")],
    url: Annotated[str, typer.Option(metavar="URL", help="Under which browsers reach this server.")],
    secret_env: Annotated[
        str | None,
        typer.Option(metavar="VAR", help="Environment variable with the client's secret; asked for if none."),
    ] = None,
    group_role: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="GROUP=ROLE", help="Whose members get which role; may be repeated."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GROUP=PLACE",
            help="What a group's role is limited to: VCENTER or VCENTER/FOLDER; may be repeated.",
        ),
    ] = None,
    default_role: Annotated[
        Role | None, typer.Option(help="For who is in none of these groups; without it they are refused.")
    ] = None,
    label: Annotated[str, typer.Option(metavar="TEXT", help="What the button says.")] = "",
    groups_claim: Annotated[str, typer.Option(metavar="CLAIM", help="Where the groups are told.")] = "groups",
    ca_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Authorities (PEM) of the provider's certificate.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Set the identity provider, or change it. At the provider allow the redirect address that is shown."""
    if secret_env:
        secret = secrets.from_variable(secret_env)
    else:
        secret = secrets.asked("The client's secret", otherwise="add --secret-env VAR")
    roles = _roles(group_role or [])
    new = NewOidc(
        issuer=issuer,
        client_id=client_id,
        url=url,
        secret=secret,
        roles=roles,
        limits=_limits(limit or [], roles),
        default_role=default_role,
        label=label,
        groups_claim=groups_claim,
        ca_file=str(ca_file.resolve()) if ca_file else "",
    )
    with Workspace.from_environment() as workspace:
        record = oidc.configure(workspace, new)
    if as_json:
        output.document(_document(record))
        return
    output.result(f"People may sign in at {record.label}.")
    output.say(f"Allow this redirect address there: {record.url}{oidc.BACK}")
    output.say("Try it: vbm oidc test")


@app.command("show", epilog=examples("vbm oidc show", "vbm oidc show --json"))
def show(as_json: Json = False) -> None:
    """Show the identity provider; never its secret."""
    with Workspace.from_environment() as workspace:
        record = oidc.configured(workspace)
    if as_json:
        output.document(_document(record))
    elif record is None:
        output.say("No identity provider is set: vbm oidc set --issuer https://…")
    else:
        for name, value in _document(record).items():
            output.say(f"{name}: {value if value is not None else '–'}")


@app.command("test", epilog=examples("vbm oidc test"))
def try_(as_json: Json = False) -> None:
    """Ask the identity provider for its addresses. Nobody is signed in."""
    with Workspace.from_environment() as workspace:
        about = oidc.discovered(workspace)
    if as_json:
        output.document({name: about.get(name) for name in ("issuer", "authorization_endpoint", "jwks_uri")})
    else:
        output.result(f"{about['issuer']} answers.")


@app.command("remove", epilog=examples("vbm oidc remove --yes"))
def remove(*, yes: Yes = False) -> None:
    """Let nobody sign in there any more. Users and running sessions stay until they are removed."""
    confirmed("Nobody will sign in at the identity provider any more.", "Remove it?", yes=yes)
    with Workspace.from_environment() as workspace:
        oidc.remove(workspace)
    output.result("No identity provider is set any more.")
