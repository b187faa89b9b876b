"""``vbm vcenter``: the vCenters and ESXi hosts that backups are made from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Final

import typer

from vbm.catalog.vcenters import VcenterRecord
from vbm.cli import output, secrets
from vbm.cli.completion import complete_vcenter
from vbm.cli.confirm import confirmed
from vbm.cli.groups import examples, group
from vbm.cli.options import Json, Utc, Yes
from vbm.cli.output import Column
from vbm.errors import CancelledError, InputError
from vbm.services import vcenters
from vbm.services.documents import vcenter_document
from vbm.services.workspace import Workspace
from vbm.vsphere.tls import show_thumbprint

_PASSWORD_VARIABLE: Final = "VCENTER_PASSWORD"  # noqa: S105 - the variable's name
app = group("Add, test and remove vCenters and ESXi hosts.")
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The vCenter's name.", autocompletion=complete_vcenter)
]


@app.command(
    "add",
    epilog=examples(
        "vbm vcenter add prod --host vc.example.com --username backup@vsphere.local",
        "vbm vcenter add lab --host 127.0.0.1:8989 --username admin --password-env LAB_PW --thumbprint AA:BB:…",
    ),
)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it from now on.")],
    *,
    host: Annotated[
        str, typer.Option(metavar="HOST[:PORT]", help="Where it answers; port 443 if none is given.")
    ],
    username: Annotated[str, typer.Option(metavar="NAME", help="The account that makes backups.")],
    password_env: Annotated[
        str | None,
        typer.Option(
            metavar="VAR",
            help=f"Environment variable with the password; {_PASSWORD_VARIABLE} if none is named.",
        ),
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File with the password.")
    ] = None,
    thumbprint: Annotated[
        str | None,
        typer.Option(metavar="SHA256", help="The certificate's SHA-256 thumbprint: 64 hex digits."),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Trust certificates signed by the CA in this PEM file."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a vCenter or ESXi host, after a login that works.

    Its certificate is trusted by thumbprint or by a CA file. Without either, the server's thumbprint is
    shown for you to compare and confirm. The password is kept sealed in the product's database.
    """
    if thumbprint and ca_file:
        raise InputError("give --thumbprint or --ca-file, not both")
    with Workspace.from_environment() as workspace:
        vcenters.check_new(workspace, name, host)
        trusted = thumbprint or ("" if ca_file else _confirmed_thumbprint(host))
        new = vcenters.NewVcenter(
            name=name,
            address=host,
            username=username,
            password=_password(password_env, password_file, username),
            thumbprint=trusted,
            ca_file=str(ca_file) if ca_file else "",
        )
        record = vcenters.add(workspace, new)
    if as_json:
        output.document(vcenter_document(record))
        return
    output.result(f"Added {record.name}: {record.product} at {_address(record)}.")
    output.say(f"Next: vbm vm list --vcenter {shlex.quote(record.name)}", style="dim")


@app.command("list", epilog=examples("vbm vcenter list", "vbm vcenter list --json"))
def list_(as_json: Json = False, utc: Utc = False) -> None:
    """List the vCenters and ESXi hosts that are known."""
    with Workspace.from_environment() as workspace:
        known = vcenters.listing(workspace)
    if as_json:
        output.document([vcenter_document(v) for v in known])
    elif not known:
        output.say("No vCenter is known yet. Add one:")
        output.say("  vbm vcenter add NAME --host HOST --username USER", style="cyan")
        output.say("Or try the product on its simulated one: vbm demo", style="dim")
    else:
        columns = (
            Column("Name"),
            Column("Address"),
            Column("User"),
            Column("Product"),
            Column("Trusted by", from_width=100),
            Column("Added", from_width=120),
        )
        output.table(
            columns,
            [
                (v.name, _address(v), v.username, v.product, _trust(v), output.when(v.created, utc=utc))
                for v in known
            ],
        )


@app.command("test", epilog=examples("vbm vcenter test prod"))
def check(name: Name, as_json: Json = False) -> None:
    """Connect, log in and say who answered."""
    with Workspace.from_environment() as workspace:
        record = vcenters.get(workspace, name)
        with vcenters.connect(workspace, record.name) as session:
            about = dict(session.about)
    if as_json:
        output.document({"name": record.name, "ok": True, "about": about})
        return
    output.result(
        f"{record.name}: logged in as {record.username}; {about.get('name', 'the server')} answers."
    )


@app.command("remove", epilog=examples("vbm vcenter remove prod"))
def remove(name: Name, yes: Yes = False) -> None:
    """Forget a vCenter and its password. Restore points of its VMs stay where they are."""
    with Workspace.from_environment() as workspace:
        record = vcenters.get(workspace, name)
        confirmed(
            f"{record.name} ({_address(record)}) and its stored password will be forgotten; restore points stay.",
            "Remove it?",
            yes=yes,
        )
        vcenters.remove(workspace, record.id)
    output.result(f"Removed {record.name}.")


def _confirmed_thumbprint(address: str) -> str:
    found = vcenters.server_thumbprint(address)
    output.say(f"{address} shows a certificate with this SHA-256 thumbprint:")
    output.say(f"  {found}", style="bold")
    if not secrets.interactive():
        raise InputError(
            "the certificate has to be trusted before a password is sent",
            hint=f"compare it with the server's own, then add --thumbprint {found}",
        )
    if not typer.confirm("Is it the server's own?", default=False, err=True):
        raise CancelledError("the certificate was not trusted; nothing was stored")
    return found


def _password(variable: str | None, path: Path | None, username: str) -> str:
    if variable and path:
        raise InputError("give --password-env or --password-file, not both")
    if path:
        return secrets.text_from_file(path)
    if variable or not secrets.interactive() or secrets.is_set(_PASSWORD_VARIABLE):
        return secrets.from_variable(variable or _PASSWORD_VARIABLE)
    return secrets.asked(f"Password of {username}", otherwise=f"set {_PASSWORD_VARIABLE}")


def _address(record: VcenterRecord) -> str:
    host = f"[{record.host}]" if ":" in record.host else record.host
    return host if record.port == 443 else f"{host}:{record.port}"


def _trust(record: VcenterRecord) -> str:
    return (
        f"CA {record.ca_file}" if record.ca_file else f"thumbprint {show_thumbprint(record.thumbprint)[:11]}…"
    )
