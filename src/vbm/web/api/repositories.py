"""``/repositories``: where restore points lie."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from vbm.cancel import CancelToken
from vbm.catalog.repositories import RepositoryRecord
from vbm.errors import InputError
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import KeySource, NoKey, Passphrase
from vbm.security.roles import Permission
from vbm.services import repositories, repository_runs, upkeep
from vbm.services.access import Where
from vbm.services.documents import repository_document, run_document
from vbm.services.repositories import Key, RepositoryChange
from vbm.web.access import needs
from vbm.web.api import etags
from vbm.web.api.etags import IfMatch
from vbm.web.api.paging import Pages, by_name
from vbm.web.api.schemas import Given, Name, Page, RunShown, Secret, Time
from vbm.web.state import Space

router = APIRouter(prefix="/repositories", tags=["repositories"])


Url = Annotated[
    str, Field(max_length=1000, pattern=r"^[a-z][a-z0-9]*://[^\s]+$", examples=["file:///backup/store"])
]


class RepositoryGiven(Given):
    """A new repository, or with `existing` one that is there already. Without `passphrase` it is not encrypted."""

    name: Name
    url: Url
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


class RepositoryPatch(Given):
    """``url``: where the same repository lies now. ``passphrase``: one that opens it. Both are tried first."""

    name: Name | None = None
    url: Url | None = None
    passphrase: Secret | None = None


class CheckGiven(Given):
    """``full`` reads every byte back; ``quick`` looks that everything is there."""

    mode: Literal["quick", "full"] = "quick"


class RepositoryShown(BaseModel):
    id: str
    name: str
    url: str
    repository_id: str
    encrypted: bool
    key: Literal["none", "passphrase", "key-file"]
    chunk_size_bytes: int
    compression: str
    created: Time


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


def etag_of(record: RepositoryRecord) -> str:
    return etags.tag(record, record.sealed_passphrase)


def _shown(record: RepositoryRecord, response: Response) -> dict[str, Any]:
    response.headers["ETag"] = etag_of(record)
    return repository_document(record)


@router.get("", dependencies=[needs(Permission.SEE)], response_model=Page[RepositoryShown])
def list_repositories(space: Space, paging: Pages) -> dict[str, Any]:
    """Every repository, by name."""
    found = repositories.listing(space)
    return paging.slice(found, lambda record: by_name(record.name, record.id), repository_document)


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
    return _shown(record, response)


@router.get("/{repository}", dependencies=[needs(Permission.SEE)], response_model=RepositoryShown)
def get_repository(space: Space, repository: str, response: Response) -> dict[str, Any]:
    """The repository of that id or name."""
    return _shown(repositories.get(space, repository), response)


@router.patch("/{repository}", dependencies=[needs(Permission.MANAGE)], response_model=RepositoryShown)
def change_repository(
    space: Space, repository: str, given: RepositoryPatch, response: Response, if_match: IfMatch = ""
) -> dict[str, Any]:
    """Another name, address or passphrase; kept only if the same repository opens with it."""
    wanted = RepositoryChange(given.name, given.url, given.passphrase)
    condition = etags.unless_changed(if_match, etag_of)
    return _shown(repositories.change(space, repository, wanted, condition), response)


@router.delete("/{repository}", status_code=204, dependencies=[needs(Permission.MANAGE)])
def forget_repository(space: Space, repository: str, if_match: IfMatch = "") -> None:
    """Forget name and key; the data stays where it is. Refused while a job uses it."""
    repositories.forget(space, repository, etags.unless_changed(if_match, etag_of, needed=False))


@router.post(
    "/{repository}/check",
    status_code=202,
    dependencies=[needs(Permission.OPERATE)],
    response_model=RunShown,
)
def check_repository(
    space: Space, repository: str, response: Response, given: CheckGiven | None = None
) -> dict[str, Any]:
    """Have a worker verify every restore point in it; the run tells how far it is and what it found."""
    run = repository_runs.check(space, repository, (given or CheckGiven()).mode)
    response.headers["Location"] = f"/api/v1/runs/{run.id}"
    return run_document(run, space.clock)


@router.post(
    "/{repository}/gc", status_code=202, dependencies=[needs(Permission.MANAGE)], response_model=RunShown
)
def collect_garbage(space: Space, repository: str, response: Response) -> dict[str, Any]:
    """Have a worker do one pass: condemn what nothing needs, delete what was condemned a day ago."""
    run = repository_runs.collect(space, repository)
    response.headers["Location"] = f"/api/v1/runs/{run.id}"
    return run_document(run, space.clock)


@router.get("/{repository}/usage", dependencies=[needs(Permission.SEE)], response_model=Usage)
def get_usage(space: Space, repository: str) -> dict[str, Any]:
    """What each VM costs: bytes that only it needs, and all that it needs. Reads every map."""
    record = repositories.get(space, repository)
    _, found = upkeep.stats(space, Where(name=record.name), CancelToken())
    return upkeep.usage_document(space, record, found)
