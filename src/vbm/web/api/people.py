"""``/users`` and ``/api-keys``: who may do what."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from vbm.security.roles import Permission, Role
from vbm.services import accounts, api_keys
from vbm.services.accounts import NewUser
from vbm.services.api_keys import NewApiKey
from vbm.services.documents import api_key_document, user_document
from vbm.web.access import needs
from vbm.web.api.schemas import Given, Name, Page, Secret
from vbm.web.state import Space

router = APIRouter(tags=["people"], dependencies=[needs(Permission.MANAGE)])


class UserGiven(Given):
    name: Name
    role: Role
    password: Secret
    vcenters: Annotated[list[Name], Field(description="Limited to these; none: all.")] = Field([])


class UserChange(Given):
    role: Role | None = None
    vcenters: list[Name] | None = None
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
    created: str
    last_seen: str | None


class KeyGiven(Given):
    name: Name
    role: Role
    expires: datetime | None = None
    vcenters: list[Name] = Field([])


class KeyShown(BaseModel):
    id: str
    name: str
    role: Role
    vcenters: list[str]
    created: str
    expires: str | None
    last_used: str | None


class KeyMade(KeyShown):
    key: Annotated[str, Field(description="Shown once, here.")]


@router.get("/users", response_model=Page[UserShown])
def list_users(space: Space) -> dict[str, Any]:
    """Every user, by name."""
    return {"items": [user_document(record) for record in accounts.listing(space)], "next_cursor": None}


@router.post("/users", status_code=201, response_model=UserShown)
def createuser_document(space: Space, given: UserGiven, response: Response) -> dict[str, Any]:
    """A local user."""
    new = NewUser(given.name, given.role, given.password, tuple(given.vcenters))
    record = accounts.create(space, new)
    response.headers["Location"] = f"/api/v1/users/{record.id}"
    return user_document(record)


@router.get("/users/{user}", response_model=UserShown)
def getuser_document(space: Space, user: str) -> dict[str, Any]:
    """The user of that id or name."""
    return user_document(accounts.get(space, user))


@router.patch("/users/{user}", response_model=UserShown)
def changeuser_document(space: Space, user: str, given: UserChange) -> dict[str, Any]:
    """Another role, scope, state or password."""
    record = accounts.get(space, user)
    if given.role is not None or given.vcenters is not None:
        role = given.role or Role(record.role)
        accounts.set_role(space, record.id, role, given.vcenters)
    if given.disabled is not None:
        accounts.set_disabled(space, record.id, disabled=given.disabled)
    if given.password is not None:
        accounts.set_password(space, record.id, given.password)
    return user_document(accounts.get(space, record.id))


@router.delete("/users/{user}", status_code=204)
def deleteuser_document(space: Space, user: str) -> None:
    """The user, its sessions and its keys."""
    accounts.remove(space, user)


@router.get("/api-keys", response_model=Page[KeyShown])
def list_keys(space: Space) -> dict[str, Any]:
    """The newest first."""
    return {"items": [api_key_document(record) for record in api_keys.listing(space)], "next_cursor": None}


@router.post("/api-keys", status_code=201, response_model=KeyMade)
def create_key(space: Space, given: KeyGiven) -> dict[str, Any]:
    """A key for a script; it is shown this once."""
    expires = given.expires.astimezone() if given.expires else None
    record, key = api_keys.create(space, NewApiKey(given.name, given.role, expires, tuple(given.vcenters)))
    return api_key_document(record) | {"key": key}


@router.delete("/api-keys/{key_id}", status_code=204)
def revoke_key(space: Space, key_id: str) -> None:
    """It opens nothing from now on."""
    api_keys.revoke(space, key_id)
