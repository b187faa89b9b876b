"""Tags and custom attributes of many VMs at once, for selecting by them.

Custom attributes: one property pass and the field definitions. Tags are no part of the SOAP API: they are asked of
vCenter's Automation API (``/api``, since 7.0 U2; ``/rest`` before), in batches of VMs; then each tag in use and each
category is named once. An ESXi host has neither.
Source: Automation API reference, ``cis/session``, ``cis/tagging/tag-association?action=list-attached-tags-on-objects``.
"""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import quote

from vbm.cancel import CancelToken
from vbm.errors import VbmError
from vbm.ids import MoRef
from vbm.retry import retry
from vbm.vsphere.faults import BusyError, translate
from vbm.vsphere.properties import collect
from vbm.vsphere.session import Session

_BATCH: Final = 500  # VMs in one question; 2,000 is the most that vCenter takes
_LIMIT_BYTES: Final = 64 * 1024 * 1024
_TOKEN_HEADER: Final = "vmware-api-session-id"  # noqa: S105 - a header's name
_OLD: Final = "/rest/com/vmware"
_NEW: Final = "/api"


class TagsUnavailableError(VbmError):
    """The server's tags can't be read: it has none, or does not give them out."""

    code = "tags-unavailable"


def custom_attributes(session: Session) -> dict[MoRef, dict[str, str]]:
    """Name → value of each VM that has any."""
    manager = session.read(lambda content: content.customFieldsManager)
    if manager is None:
        return {}
    names = {field.key: field.name for field in session.read(lambda _: manager.field) or ()}
    found = {}
    for reference, values in collect(session, {"VirtualMachine": ("customValue",)}):
        own = {names[v.key]: str(v.value) for v in values.get("customValue") or () if v.key in names}
        if own:
            found[MoRef(reference._moId)] = own
    return found


def tags(session: Session, morefs: Iterable[MoRef]) -> dict[MoRef, frozenset[str]]:
    """``category:name`` of the tags of each VM that has any. Raises TagsUnavailableError."""
    wanted = list(morefs)
    if not session.is_vcenter:
        raise TagsUnavailableError(
            f"{session.where} is an ESXi host, which knows no tags",
            hint="select by name, folder or resource pool, or add the vCenter that manages the host",
        )
    with _Automation(session) as api:
        attached: dict[MoRef, list[str]] = {}
        for start in range(0, len(wanted), _BATCH):
            attached.update(api.attached(wanted[start : start + _BATCH]))
        names = api.names(sorted({tag for ids in attached.values() for tag in ids}))
    return {moref: frozenset(names[tag] for tag in ids if tag in names) for moref, ids in attached.items()}


@dataclass(slots=True)
class _Answer:
    status: int
    body: bytes

    def value(self, *, wrapped: bool) -> Any:
        document = json.loads(self.body)
        return document["value"] if wrapped else document


class _Automation:
    """A session of the Automation API, made with the same account and ended with ``with``."""

    def __init__(self, session: Session) -> None:
        self._session, self._root, self._token = session, _NEW, ""

    def __enter__(self) -> Self:
        for root, path in ((_NEW, "/session"), (_OLD, "/cis/session")):
            login = {"Authorization": "Basic " + self._basic()}
            answer = self._ask("POST", root + path, headers=login)
            if answer.status in {200, 201}:
                self._root = root
                self._token = str(answer.value(wrapped=root == _OLD))
                return self
            if answer.status != 404:
                break
        raise self._refused(answer.status)

    def __exit__(self, *_: object) -> None:
        try:
            self._ask("DELETE", self._root + ("/session" if self._root == _NEW else "/cis/session"))
        except VbmError:
            pass  # it ends by itself

    def attached(self, morefs: Sequence[MoRef]) -> dict[MoRef, list[str]]:
        """Ids of the tags of each of these VMs."""
        action = "action" if self._root == _NEW else "~action"
        path = f"/cis/tagging/tag-association?{action}=list-attached-tags-on-objects"
        asked = {"object_ids": [{"type": "VirtualMachine", "id": moref} for moref in morefs]}
        found = self._value("POST", path, asked)
        return {MoRef(each["object_id"]["id"]): each["tag_ids"] for each in found if each["tag_ids"]}

    def names(self, ids: Sequence[str]) -> dict[str, str]:
        """``category:name`` of tags; one that is deleted or hidden meanwhile is left out."""
        categories: dict[str, str] = {}
        names = {}
        for tag_id in ids:
            tag = self._find("tag", tag_id)
            if tag is None:
                continue
            category_id = tag["category_id"]
            if category_id not in categories:
                category = self._find("category", category_id)
                categories[category_id] = category["name"] if category else ""
            names[tag_id] = f"{categories[category_id]}:{tag['name']}"
        return names

    def _find(self, kind: str, identity: str) -> Mapping[str, Any] | None:
        name = quote(identity, safe="")
        path = f"/cis/tagging/{kind}/{name}" if self._root == _NEW else f"/cis/tagging/{kind}/id:{name}"
        found: Mapping[str, Any] | None = self._value("GET", path, missing=(403, 404))
        return found

    def _value(self, method: str, path: str, asked: Any = None, missing: tuple[int, ...] = ()) -> Any:
        answer = self._ask(method, self._root + path, asked)
        if answer.status in missing:
            return None
        if answer.status != 200:
            raise self._refused(answer.status)
        return answer.value(wrapped=self._root == _OLD)

    def _ask(
        self, method: str, path: str, asked: Any = None, headers: Mapping[str, str] | None = None
    ) -> _Answer:
        sent = {"Accept": "application/json", **(headers or {_TOKEN_HEADER: self._token})}
        body = b"" if asked is None else json.dumps(asked).encode()
        if asked is not None:
            sent["Content-Type"] = "application/json"
        return retry(lambda: self._once(method, path, body, sent), self._session.reads, CancelToken())

    def _once(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> _Answer:
        connection = self._session.http_connection()
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            content = answer.read(_LIMIT_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise translate(error, self._session.where) from error
        finally:
            connection.close()
        if answer.status in {429, 502, 503, 504}:
            raise BusyError(f"{self._session.where} is too busy to tell tags (HTTP {answer.status})")
        return _Answer(answer.status, content)

    def _basic(self) -> str:
        name, password = self._session.account()
        return base64.b64encode(f"{name}:{password}".encode()).decode()

    def _refused(self, status: int) -> TagsUnavailableError:
        return TagsUnavailableError(
            f"{self._session.where} does not tell its tags (HTTP {status} of the Automation API)",
            hint="the account must be allowed to log in to the Automation API and to read tags",
        )
