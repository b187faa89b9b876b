"""``/repositories``: where restore points lie."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from vbm.cancel import CancelToken
from vbm.errors import InputError
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import KeySource, NoKey, Passphrase
from vbm.security.roles import Permission
from vbm.services import repositories, upkeep
from vbm.services.access import Where
from vbm.services.documents import repository_document
from vbm.services.repositories import Key
from vbm.web.access import needs
from vbm.web.api.schemas import Given, Name, Page, Secret
from vbm.web.state import Space

router = APIRouter(prefix="/repositories", tags=["repositories"])


class RepositoryGiven(Given):
    """A new repository, or with `existing` one that is there already. Without `passphrase` it is not encrypted."""

    name: Name
    url: Annotated[str, Field(min_length=1, max_length=1000, examples=["file:///backup/store"])]
    passphrase: Secret | None = None
    encryption: bool = True
    existing: bool = False
    chunk_size_bytes: int = 1024 * 1024
    compression: Literal["fast", "default", "archive"] = "default"

    def key(self) -> KeySource:
        if not self.encryption:
            return NoKey()
        if not self.passphrase:
            raise InputError("an encrypted repository needs a passphrase", hint="or say encryption: false")
        return Passphrase(self.passphrase)


class RepositoryShown(BaseModel):
    id: str
    name: str
    url: str
    repository_id: str
    encrypted: bool
    chunk_size_bytes: int
    compression: str
    created: str


class VmUsageShown(BaseModel):
    vm_instance_uuid: str
    vm_name: str
    restore_points: int
    logical_bytes: int
    unique_bytes: int
    needed_bytes: int


class Usage(BaseModel):
    restore_points: int
    logical_bytes: int
    used_bytes: int
    stored_bytes: int
    needed_bytes: int
    free_bytes: int | None
    total_bytes: int | None
    vms: list[VmUsageShown]


@router.get("", dependencies=[needs(Permission.SEE)], response_model=Page[RepositoryShown])
def list_repositories(space: Space) -> dict[str, Any]:
    """Every repository, by name."""
    return {"items": [repository_document(r) for r in repositories.listing(space)], "next_cursor": None}


@router.post("", status_code=201, dependencies=[needs(Permission.MANAGE)], response_model=RepositoryShown)
def create_repository(space: Space, given: RepositoryGiven, response: Response) -> dict[str, Any]:
    """Create a repository, or know one that exists."""
    key = Key(given.key())
    if given.existing:
        record = repositories.add(space, given.name, given.url, key)
    else:
        options = RepositoryOptions(given.chunk_size_bytes, given.compression)
        record = repositories.create(space, given.name, given.url, key, options)
    response.headers["Location"] = f"/api/v1/repositories/{record.id}"
    return repository_document(record)


@router.get("/{repository}", dependencies=[needs(Permission.SEE)], response_model=RepositoryShown)
def get_repository(space: Space, repository: str) -> dict[str, Any]:
    """The repository of that id or name."""
    return repository_document(repositories.get(space, repository))


@router.delete("/{repository}", status_code=204, dependencies=[needs(Permission.MANAGE)])
def forget_repository(space: Space, repository: str) -> None:
    """Forget name and key; the data stays where it is. Refused while a job uses it."""
    repositories.forget(space, repository)


@router.get("/{repository}/usage", dependencies=[needs(Permission.SEE)], response_model=Usage)
def usage(space: Space, repository: str) -> dict[str, Any]:
    """What each VM costs: bytes that only it needs, and all that it needs. Reads every map."""
    record = repositories.get(space, repository)
    _, found = upkeep.stats(space, Where(name=record.name), CancelToken())
    return upkeep.usage_document(space, record, found)
