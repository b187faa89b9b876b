"""vCenters and ESXi hosts: add (after a login that works), list, test, remove, connect."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from vbm.cancel import CancelToken
from vbm.catalog.errors import UnknownNameError
from vbm.catalog.jobs import check_unused
from vbm.catalog.locks import one_at_a_time
from vbm.catalog.names import checked_name
from vbm.catalog.vcenters import (
    VcenterRecord,
    all_vcenters,
    delete_vcenter,
    insert_vcenter,
    name_taken,
    replace_vcenter,
    vcenter_by_name,
    vcenter_exists,
)
from vbm.catalog.vm_places import drop_folders
from vbm.errors import InputError, NotFoundError, VbmError
from vbm.ids import new_id
from vbm.security.roles import Permission
from vbm.security.vault import MasterKeyError, SealBrokenError
from vbm.services import identity, trail
from vbm.services.addresses import parse_address
from vbm.services.conditions import anything
from vbm.services.workspace import Workspace
from vbm.vsphere.model import Credentials, Endpoint
from vbm.vsphere.session import Session
from vbm.vsphere.tls import fetch_thumbprint, normalise_thumbprint, show_thumbprint

_log = logging.getLogger(__name__)
_ADD_FIRST = "add one: vbm vcenter add NAME --host HOST --username USER"


@dataclass(frozen=True, slots=True)
class NewVcenter:
    """What it takes to know a vCenter. One of ``thumbprint`` and ``ca_file`` is set."""

    name: str
    address: str  # host, host:port, [v6]:port
    username: str
    password: str = field(repr=False)
    thumbprint: str = ""
    ca_file: str = ""


def check_new(workspace: Workspace, name: str, address: str) -> tuple[str, str, int]:
    """(name, host, port), all right and the name free: said before anybody is asked for a password."""
    name = checked_name(name)
    host, port = parse_address(address)
    with workspace.catalog.reading() as session:
        if vcenter_exists(session, name):
            raise name_taken(name)
    return name, host, port


def server_thumbprint(address: str) -> str:
    """The SHA-256 thumbprint ``AA:BB:…`` of the certificate that answers there; it proves nothing yet."""
    return show_thumbprint(normalise_thumbprint(fetch_thumbprint(*parse_address(address))))


def add(workspace: Workspace, new: NewVcenter, cancel: CancelToken | None = None) -> VcenterRecord:
    """Log in, and remember the vCenter if that worked. Raises the errors of Session.connect."""
    identity.require_everywhere("add vCenters")
    name, host, port = check_new(workspace, new.name, new.address)
    if bool(new.thumbprint) == bool(new.ca_file):
        raise InputError("a vCenter is trusted by --thumbprint or by --ca-file: give one of them")
    if not new.username:
        raise InputError("the user name is empty")
    thumbprint = normalise_thumbprint(new.thumbprint) if new.thumbprint else ""
    ca_file = str(Path(new.ca_file).expanduser().absolute()) if new.ca_file else ""
    endpoint = Endpoint(name=name, host=host, port=port, thumbprint=thumbprint, ca_file=ca_file)
    with Session.connect(endpoint, Credentials(new.username, new.password), cancel=cancel) as session:
        about = dict(session.about)
    now = workspace.clock.now()
    record_id = new_id(now)
    record = VcenterRecord(
        id=record_id,
        name=name,
        host=host,
        port=port,
        username=new.username,
        thumbprint=thumbprint,
        ca_file=ca_file,
        product=about.get("name", ""),
        instance_uuid=about.get("instance_uuid", ""),
        created=now,
        sealed_password=workspace.vault.seal(new.password, _context(record_id)),
    )
    with workspace.catalog.writing() as database:
        insert_vcenter(database, record)
        trail.note(workspace, database, "vcenter.add", name, {"host": host, "port": port})
    return record


def listing(workspace: Workspace) -> list[VcenterRecord]:
    """Every vCenter, by name."""
    with workspace.catalog.reading() as session:
        return all_vcenters(session)


def visible(workspace: Workspace) -> list[VcenterRecord]:
    """Those of which who asks may see at least some VMs, by name."""
    scope = identity.require(Permission.SEE).scope
    return [record for record in listing(workspace) if scope.sees(record.id)]


def get(workspace: Workspace, name: str | None) -> VcenterRecord:
    """The vCenter of that name; the only one where no name is given. NotFoundError, InputError."""
    if name is not None:
        with workspace.catalog.reading() as session:
            return vcenter_by_name(session, name)
    known = listing(workspace)
    if not known:
        raise NotFoundError("no vCenter is known yet", hint=_ADD_FIRST)
    if len(known) > 1:
        names = ", ".join(repr(v.name) for v in known)
        raise InputError(f"which vCenter? There are {len(known)}: {names}", hint="say --vcenter NAME")
    return known[0]


def connect(workspace: Workspace, name: str | None, cancel: CancelToken | None = None) -> Session:
    """A logged-in session at that vCenter, or at the only one."""
    record = get(workspace, name)
    credentials = Credentials(record.username, _password(workspace, record))
    return Session.connect(endpoint_of(record), credentials, cancel=cancel)


def check_master_key(workspace: Workspace) -> None:
    """Raises MasterKeyError where not one vCenter's password opens; one of several is only logged."""
    refused: list[MasterKeyError] = []
    records = listing(workspace)
    for record in records:
        try:
            _password(workspace, record)
        except MasterKeyError as error:
            refused.append(error)
        except SealBrokenError as error:
            _log.warning("%s", error.message)
    if refused and len(refused) == len(records):
        raise refused[0]
    for refusal in refused:
        _log.warning("%s", refusal.message)


def remove(
    workspace: Workspace, name: str, condition: Callable[[VcenterRecord], None] = anything
) -> VcenterRecord:
    """Forget the vCenter and its password. Restore points of its VMs stay."""
    identity.require(Permission.MANAGE, "remove vCenters")
    record = seen(workspace, name)
    identity.require_all_of(record.id, f"remove {record.name}")
    with workspace.catalog.writing() as session:
        condition(vcenter_by_name(session, record.id))
        check_unused(session, f"vCenter {record.name}", record.id)
        drop_folders(session, record.id)
        delete_vcenter(session, record.id)
        trail.note(workspace, session, "vcenter.remove", record.name)
    return record


def endpoint_of(record: VcenterRecord) -> Endpoint:
    """Where and how to connect to it."""
    return Endpoint(
        name=record.name,
        host=record.host,
        port=record.port,
        thumbprint=record.thumbprint,
        ca_file=record.ca_file,
    )


def _password(workspace: Workspace, record: VcenterRecord) -> str:
    return workspace.vault.unseal(record.sealed_password, _context(record.id))


def _context(record_id: str) -> str:
    return f"vcenter/{record_id}/password"


def seen(workspace: Workspace, name: str) -> VcenterRecord:
    """The vCenter of that name or id. Raises UnknownNameError, also where who asks may see no VM of it."""
    record = get(workspace, name)
    if not identity.require(Permission.SEE).scope.sees(record.id):
        raise UnknownNameError(f"there is no vCenter named {name!r}")
    return record


def answer(workspace: Workspace, name: str) -> dict[str, object]:
    """Connect and log in: ``{ok, message, hint}``. What goes wrong there is an answer, no error of ours."""
    identity.require(Permission.OPERATE)
    try:
        with connect(workspace, name) as session:
            product = dict(session.about).get("name", "the server")
    except VbmError as error:
        return {"ok": False, "message": error.message, "hint": error.hint}
    return {"ok": True, "message": f"Logged in; {product} answers.", "hint": ""}


def change(
    workspace: Workspace,
    name: str,
    username: str,
    password: str,
    thumbprint: str,
    condition: Callable[[VcenterRecord], None] = anything,
) -> VcenterRecord:
    """Another account, password or certificate, kept only if the login works; what is empty stays."""
    identity.require(Permission.MANAGE, "change vCenters")
    old = seen(workspace, name)
    identity.require_all_of(old.id, f"change {old.name}")
    condition(old)
    new = replace(
        old,
        username=username or old.username,
        thumbprint=normalise_thumbprint(thumbprint) if thumbprint else old.thumbprint,
        ca_file="" if thumbprint else old.ca_file,
        sealed_password=workspace.vault.seal(password, _context(old.id)) if password else old.sealed_password,
    )
    credentials = Credentials(new.username, password or _password(workspace, old))
    Session.connect(endpoint_of(new), credentials).close()
    with workspace.catalog.writing() as session:
        one_at_a_time(session, "vcenter")
        condition(vcenter_by_name(session, old.id))
        replace_vcenter(session, new)
        trail.note(workspace, session, "vcenter.change", new.name, {"password": bool(password)})
    return new
