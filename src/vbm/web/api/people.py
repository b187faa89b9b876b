"""``/users`` and ``/api-keys``: who may do what."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from vbm.catalog.users import UserRecord
from vbm.security.roles import Permission, Role
from vbm.services import accounts, api_keys
from vbm.services.accounts import NewUser, UserChange
from vbm.services.api_keys import NewApiKey
from vbm.services.documents import api_key_document, user_document
from vbm.web.access import needs
from vbm.web.api import etags
from vbm.web.api.etags import IfMatch
from vbm.web.api.moments import Moment
from vbm.web.api.paging import Pages, by_name
from vbm.web.api.schemas import Given, Name, Page, Secret, Time
from vbm.web.state import Space

router = APIRouter(tags=["people"], dependencies=[needs(Permission.MANAGE)])


class Folder(Given):
    """A folder of VMs and what lies below it: ``path`` as selections name it, without the datacenter."""

    vcenter_id: Annotated[Name, Field(description="Id or name.")]
    path: Annotated[str, Field(min_length=1, max_length=1000, examples=["Tenants/Blue"])]


def _folders(given: list[Folder] | None) -> tuple[tuple[str, str], ...] | None:
    return None if given is None else tuple((one.vcenter_id, one.path) for one in given)


class UserGiven(Given):
    name: Name
    role: Role
    password: Secret
    vcenters: Annotated[list[Name], Field(description="Limited to these and `folders`; none: all.")] = Field(
        []
    )
    folders: list[Folder] = Field([], max_length=1000)


class UserPatch(Given):
    role: Role | None = None
    vcenters: list[Name] | None = None
    folders: list[Folder] | None = None
    disabled: bool | None = None
    password: Secret | None = None


class UserShown(BaseModel):
    id: str
    name: str
    role: Role
    source: str
    disabled: bool
    second_factor: bool
    vcenters: list[str]
    folders: list[Folder]
    created: Time
    last_seen: Time | None


class KeyGiven(Given):
    name: Name
    role: Role
    expires: Moment | None = None
    vcenters: list[Name] = Field([])
    folders: list[Folder] = Field([], max_length=1000)


class KeyShown(BaseModel):
    id: str
    name: str
    role: Role
    vcenters: list[str]
    folders: list[Folder]
    created: Time
    expires: Time | None
    last_used: Time | None


class KeyMade(KeyShown):
    key: Annotated[str, Field(description="Shown once, here.")]


def etag_of(record: UserRecord) -> str:
    """Another one after a change by somebody, the same after a sign-in."""
    return etags.tag(record.id, record.role, record.disabled, record.scope, record.password_hash)


def _shown(record: UserRecord, response: Response) -> dict[str, Any]:
    response.headers["ETag"] = etag_of(record)
    return user_document(record)


@router.get("/users", response_model=Page[UserShown])
def list_users(space: Space, paging: Pages) -> dict[str, Any]:
    """Every user, by name."""
    found = accounts.listing(space)
    return paging.slice(found, lambda record: by_name(record.name, record.id), user_document)


@router.post("/users", status_code=201, response_model=UserShown)
def create_user(space: Space, given: UserGiven, response: Response) -> dict[str, Any]:
    """A local user."""
    new = NewUser(
        given.name, given.role, given.password, tuple(given.vcenters), _folders(given.folders) or ()
    )
    record = accounts.create(space, new)
    response.headers["Location"] = f"/api/v1/users/{record.id}"
    return _shown(record, response)


@router.get("/users/{user}", response_model=UserShown)
def get_user(space: Space, user: str, response: Response) -> dict[str, Any]:
    """The user of that id or name."""
    return _shown(accounts.get(space, user), response)


@router.patch("/users/{user}", response_model=UserShown)
def change_user(
    space: Space, user: str, given: UserPatch, response: Response, if_match: IfMatch = ""
) -> dict[str, Any]:
    """Another role, scope, state or password: all that is given, or nothing."""
    wanted = UserChange(given.role, given.vcenters, _folders(given.folders), given.disabled, given.password)
    condition = etags.unless_changed(if_match, etag_of)
    return _shown(accounts.change(space, user, wanted, condition), response)


@router.delete("/users/{user}", status_code=204)
def delete_user(space: Space, user: str, if_match: IfMatch = "") -> None:
    """The user, its sessions and its keys."""
    accounts.remove(space, user, etags.unless_changed(if_match, etag_of, needed=False))


@router.get("/api-keys", response_model=Page[KeyShown])
def list_keys(space: Space, paging: Pages) -> dict[str, Any]:
    """The newest first."""
    found = api_keys.listing(space)
    return paging.slice(found, lambda record: record.id, api_key_document, newest_first=True)


@router.post("/api-keys", status_code=201, response_model=KeyMade)
def create_key(space: Space, given: KeyGiven, response: Response) -> dict[str, Any]:
    """A key for a script; it is shown this once."""
    new = NewApiKey(
        given.name, given.role, given.expires, tuple(given.vcenters), _folders(given.folders) or ()
    )
    record, key = api_keys.create(space, new)
    response.headers["Location"] = f"/api/v1/api-keys/{record.id}"
    return api_key_document(record) | {"key": key}


@router.get("/api-keys/{key_id}", response_model=KeyShown)
def get_key(space: Space, key_id: str) -> dict[str, Any]:
    """The key of that id, without what opens."""
    return api_key_document(api_keys.get(space, key_id))


@router.delete("/api-keys/{key_id}", status_code=204)
def revoke_key(space: Space, key_id: str) -> None:
    """It opens nothing from now on."""
    api_keys.revoke(space, key_id)
