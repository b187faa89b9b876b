"""pyVmomi's cage: the one module of the client that imports it.

Other modules of this package take ``vim`` and ``vmodl`` from here; nothing of pyVmomi leaves the package.
The types are ``Any`` to the type checker on purpose: pyVmomi builds its classes at run time.
"""

from __future__ import annotations

import base64
import http.client
import json
from datetime import datetime
from functools import partial
from typing import Any, Final
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree
import pyVmomi
from defusedxml.common import DefusedXmlException
from pyVmomi import Iso8601, SoapAdapter, VmomiSupport
from pyVmomi.VmomiJSONEncoder import VmomiJSONEncoder

from vbm.vsphere.tls import CheckedConnection

_module: Any = pyVmomi
vim: Any = _module.vim
vmodl: Any = _module.vmodl
_support: Any = VmomiSupport
_iso8601: Any = Iso8601
_adapter: Any = SoapAdapter.SoapStubAdapter

_OLDEST: Final = "vim.version.version11"  # 6.5, where the server does not tell its versions
_VERSIONS_LIMIT: Final = 256 * 1024
_POOL_SIZE: Final = 8


class Stub(_adapter):  # type: ignore[misc]
    """A SOAP connection pool to one endpoint. Thread-safe; every connection is a CheckedConnection.

    Takes its session cookie, ``name="value"`` without attributes, from the server only until ``keep_cookie``: a
    late answer to a call of a lost session must not overwrite the cookie of the new login.
    """

    _cookie: str = ""
    _kept: bool = False

    @property
    def cookie(self) -> str:
        return self._cookie

    @cookie.setter
    def cookie(self, value: str) -> None:
        if not self._kept:
            self._cookie = value.split(";", 1)[0].strip()

    def keep_cookie(self, cookie: str) -> None:
        """Use this session's cookie from now on, whatever the server sets."""
        self._kept = True
        self._cookie = cookie


def make_stub(host: str, port: int, version: str, context: Any, read_seconds: float) -> Stub:
    """A stub that speaks ``version`` and trusts what ``context`` trusts."""
    stub = Stub(host=host, port=port, version=version, path="/sdk", poolSize=_POOL_SIZE, sslContext=context)
    stub.scheme = partial(CheckedConnection, read_seconds=read_seconds)
    return stub


def service_content(stub: Stub) -> Any:
    """ServiceContent: needs no login."""
    return vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()


def managed(stub: Stub, type_name: str, moref: str) -> Any:
    """A reference such as ``managed(stub, "VirtualMachine", "vm-42")``; no call is made."""
    kind = _support.GetWsdlType("urn:vim25", type_name)
    return kind(moref, stub)


def type_name(value: Any) -> str:
    """The vim25 name of a value's type, such as ``VirtualMachine`` or ``FileFault``."""
    kind = value if isinstance(value, type) else type(value)
    try:
        return str(_support.GetWsdlName(kind))
    except (KeyError, AttributeError, TypeError):
        return kind.__name__


def to_json(value: Any) -> Any:
    """A pyVmomi data object as plain JSON values: types as ``_vimtype``, references as ``type:moref``.

    What is unset or empty is left out.
    """
    return _without_unset(json.loads(json.dumps(value, cls=VmomiJSONEncoder, strip_dynamic=True)))


def from_json(plain: Any) -> Any:
    """The data object of which ``to_json`` made plain values. Types and fields unknown here are dropped."""
    if not isinstance(plain, dict) or "_vimtype" not in plain:
        return plain
    try:
        kind: Any = _support.GetVmodlType(plain["_vimtype"])
    except (AttributeError, KeyError):
        return None
    if not _is_data_type(kind):
        return None
    wanted = {p.name: p.type for p in kind._GetPropertyList() if p.name in plain}
    fields = {name: _revive(plain[name], wanted[name]) for name in wanted}
    return kind(**{name: value for name, value in fields.items() if value is not None})


def _is_data_type(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, _support.DataObject)


def _revive(plain: Any, kind: Any) -> Any:
    if isinstance(plain, list):
        item = kind.Item
        return kind([v for v in (_revive(p, item) for p in plain) if v is not None])
    if isinstance(plain, str) and issubclass(kind, _support.ManagedObject):
        return kind(plain.rpartition(":")[2])
    if isinstance(plain, str) and issubclass(kind, datetime):
        return _iso8601.ParseISO8601(plain)
    if isinstance(plain, str) and issubclass(kind, _support.binary):
        return _support.binary(base64.b64decode(plain))
    return from_json(plain)


def _without_unset(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {k: _without_unset(v) for k, v in plain.items() if v is not None and v != []}
    if isinstance(plain, list):
        return [_without_unset(v) for v in plain]
    return plain


def negotiate(connection: http.client.HTTPSConnection) -> str:
    """The newest API version that both sides know, from ``/sdk/vimServiceVersions.xml``.

    A server without that document is spoken to as vSphere 6.5. Network errors are raised as they are.
    """
    connection.request("GET", "/sdk/vimServiceVersions.xml")
    answer = connection.getresponse()
    body = answer.read(_VERSIONS_LIMIT)
    offered = _offered_versions(body) if answer.status == 200 else set()
    known = [
        (v, n) for n, v in _support.versionIdMap.items() if n.startswith("vim.version.") and v in offered
    ]
    return max(known, key=lambda pair: _ordinal(pair[0]))[1] if known else _OLDEST


def _offered_versions(document: bytes) -> set[str]:
    try:
        root = defusedxml.ElementTree.fromstring(document)
    except (ParseError, DefusedXmlException, ValueError):
        return set()
    versions: set[str] = set()
    for namespace in root.findall("namespace"):
        if namespace.findtext("name") == "urn:vim25":
            versions.add(namespace.findtext("version") or "")
            versions.update(v.text or "" for v in namespace.findall("priorVersions/version"))
    return versions


def _ordinal(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))
