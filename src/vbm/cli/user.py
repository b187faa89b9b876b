"""``vbm user``: who may sign in at the web, and as what."""

from __future__ import annotations

from typing import Annotated

import typer

from vbm.catalog.users import UserRecord
from vbm.cli import output, secrets
from vbm.cli.completion import complete_vcenter
from vbm.cli.groups import examples, group
from vbm.cli.options import Json, Utc
from vbm.cli.output import Column
from vbm.errors import InputError
from vbm.security.roles import Role
from vbm.services import accounts, limits, vcenters
from vbm.services.accounts import NewUser
from vbm.services.documents import user_document
from vbm.services.limits import Folder
from vbm.services.workspace import Workspace

app = group("Say who may sign in at the web, and as what.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The user's name or id.")]
RoleOption = Annotated[
    Role, typer.Option("--role", help="admin may all, operator starts and restores, viewer looks.")
]
PasswordEnv = Annotated[
    str | None,
    typer.Option(metavar="VAR", help="Environment variable with the password; asked for if none is named."),
]
VcenterLimit = Annotated[
    list[str] | None,
    typer.Option(
        "--vcenter",
        metavar="NAME",
        help="Limited to this vCenter; may be repeated.",
        autocompletion=complete_vcenter,
    ),
]
FolderLimit = Annotated[
    list[str] | None,
    typer.Option(
        "--folder",
        metavar="VCENTER/FOLDER",
        help="Limited to the VMs in this folder and below; may be repeated.",
    ),
]


def folders_of(workspace: Workspace, given: list[str] | None) -> tuple[Folder, ...]:
    return tuple(limits.folder(workspace, text) for text in given or ())


def _password(variable: str | None, name: str) -> str:
    if variable:
        return secrets.from_variable(variable)
    return secrets.asked(f"Password of {name}", otherwise="add --password-env VAR", twice=True)


def _show(record: UserRecord, said: str, *, as_json: bool) -> None:
    if as_json:
        output.document(user_document(record))
    else:
        output.result(said)


@app.command(
    "add",
    epilog=examples("vbm user add anna --role admin --password-env ANNA", "vbm user add vera --role viewer"),
)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the user signs in with.")],
    *,
    role: RoleOption,
    password_env: PasswordEnv = None,
    vcenter: VcenterLimit = None,
    folder: FolderLimit = None,
    as_json: Json = False,
) -> None:
    """Add a user with a password of twelve characters or more."""
    password = _password(password_env, name)
    with Workspace.from_environment() as workspace:
        new = NewUser(name, role, password, tuple(vcenter or ()), folders_of(workspace, folder))
        record = accounts.create(workspace, new)
    _show(record, f"Added {record.name} as {record.role}.", as_json=as_json)


@app.command("list", epilog=examples("vbm user list"))
def list_(as_json: Json = False, utc: Utc = False) -> None:
    """List users, by name."""
    with Workspace.from_environment() as workspace:
        known = accounts.listing(workspace)
        names = {record.id: record.name for record in vcenters.listing(workspace)}
    if as_json:
        output.document([user_document(record) for record in known])
        return
    if not known:
        output.say("There is no user yet: the set-up page of vbm serve makes the first, or vbm user add.")
        return
    columns = (
        Column("Name"),
        Column("Role"),
        Column("Limited to"),
        Column("Second factor"),
        Column("State"),
        Column("Last seen"),
    )
    rows = [
        (
            record.name,
            record.role,
            ", ".join(limits.said(record.scope, names)) or "–",
            "yes" if record.has_second_factor else "no",
            "disabled" if record.disabled else "active",
            output.when(record.last_seen, utc=utc) if record.last_seen else "never",
        )
        for record in known
    ]
    output.table(columns, rows)


@app.command(
    "set-role",
    epilog=examples(
        "vbm user set-role vera --role operator",
        "vbm user set-role vera --role operator --vcenter paris --folder lab/Tenants/Blue",
    ),
)
def set_role(
    name: Name,
    *,
    role: RoleOption,
    vcenter: VcenterLimit = None,
    folder: FolderLimit = None,
    everywhere: Annotated[bool, typer.Option("--everywhere", help="Limited to nothing any more.")] = False,
    as_json: Json = False,
) -> None:
    """Give a user another role. Without `--vcenter`, `--folder` and `--everywhere` its limits stay."""
    if everywhere and (vcenter or folder):
        raise InputError("--everywhere takes all limits away", hint="leave out --vcenter and --folder")
    with Workspace.from_environment() as workspace:
        changed = everywhere or vcenter or folder
        whole, parts = (vcenter or [], folders_of(workspace, folder)) if changed else (None, None)
        record = accounts.set_role(workspace, name, role, whole, parts)
    _show(record, f"{record.name} is {record.role} now.", as_json=as_json)


@app.command("set-password", epilog=examples("vbm user set-password anna --password-env ANNA"))
def set_password(name: Name, *, password_env: PasswordEnv = None) -> None:
    """Give a user a new password; its browsers are signed out."""
    with Workspace.from_environment() as workspace:
        record = accounts.get(workspace, name)
        accounts.set_password(workspace, record.id, _password(password_env, record.name))
    output.result(f"{record.name} has a new password, and is signed out everywhere.")


@app.command("disable", epilog=examples("vbm user disable vera", "vbm user disable vera --undo"))
def disable(
    name: Name,
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Let the user sign in again.")] = False,
    as_json: Json = False,
) -> None:
    """Sign a user out everywhere and in nowhere; its API keys open nothing meanwhile."""
    with Workspace.from_environment() as workspace:
        record = accounts.set_disabled(workspace, name, disabled=not undo)
    _show(
        record, f"{record.name} may {'sign in again' if undo else 'not sign in any more'}.", as_json=as_json
    )
