"""What users and API keys are limited to, as people say it and as it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from vbm.catalog.base import Transaction
from vbm.catalog.vcenters import vcenter_by_name
from vbm.errors import InputError
from vbm.policy.scope import Place, without_repeats
from vbm.services import vcenters
from vbm.services.workspace import Workspace

Folder = tuple[str, str]  # (name or id of the vCenter, path below a datacenter's VM folder)
_FORM: Final = "write VCENTER/FOLDER, such as lab/Tenants/Blue"


def folder(workspace: Workspace, text: str) -> Folder:
    """What ``lab/Tenants/Blue`` means: the longest beginning that is a vCenter's name, the rest. Raises InputError."""
    known = {record.name for record in vcenters.listing(workspace)}
    ends = [at for at, character in enumerate(text) if character == "/" and text[:at] in known]
    if not ends:
        raise InputError(f"{text!r} names no folder of a vCenter that is known", hint=_FORM)
    return text[: ends[-1]], text[ends[-1] :]


def places(workspace: Workspace, texts: Sequence[str]) -> tuple[str, ...]:
    """Several, each ``VCENTER`` or ``VCENTER/FOLDER``, as records keep them. Raises InputError."""
    known = {record.name for record in vcenters.listing(workspace)}
    whole = [text for text in texts if text in known]
    parts = [folder(workspace, text) for text in texts if text not in known]
    with workspace.catalog.reading() as session:
        return stored(session, whole, parts)


def stored(session: Transaction, names: Iterable[str], folders: Iterable[Folder]) -> tuple[str, ...]:
    """Whole vCenters and folders as records keep them; what another one holds is left out. Raises InputError."""
    places = {Place(vcenter_by_name(session, name).id) for name in names}
    places |= {Place(vcenter_by_name(session, name).id, _path(path)) for name, path in folders}
    return tuple(map(str, without_repeats(places)))


def _path(text: str) -> str:
    path = text.strip("/")
    if not path or not path.isprintable():
        raise InputError(f"not a folder: {text!r}", hint=f"{_FORM}; for all of a vCenter name it alone")
    return path


def said(scope: Iterable[str], names: Mapping[str, str]) -> list[str]:
    """For people: ``lab``, ``lab/Tenants/Blue``; ``names`` by vCenters' ids."""
    found = [(names.get(p.vcenter_id, "a removed vCenter"), p.folder) for p in map(Place.parse, scope)]
    return [f"{name}/{path}" if path else name for name, path in found]
