"""``/repositories``: where restore points lie: list, add, usage, forget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from vbm.cancel import CancelToken
from vbm.catalog.restore_points import PointFilter
from vbm.errors import InputError, VbmError
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import KeySource, NoKey, Passphrase
from vbm.security.roles import Permission
from vbm.services import jobs, overview, points, repositories, upkeep
from vbm.services.access import Where
from vbm.services.repositories import Key
from vbm.units import parse_size
from vbm.web.access import needs
from vbm.web.pages.show import Form, again, back, page
from vbm.web.state import Space

router = APIRouter(prefix="/repositories")
_SHORTEST_PASSPHRASE: Final = 12
_KEPT: Final = ("name", "url", "existing", "encryption", "chunk_size", "compression")


@router.get("", dependencies=[needs(Permission.SEE)])
def list_repositories(request: Request, space: Space) -> Response:
    """With the space around each."""
    spaces = {found.id: found for found in overview.spaces(space)}
    return page(
        request,
        "repositories/list.html",
        repositories=repositories.listing(space),
        spaces=spaces,
        full=[found for found in spaces.values() if found.is_nearly_full],
        unreachable=[found for found in spaces.values() if found.problem],
    )


@router.get("/new", dependencies=[needs(Permission.MANAGE)])
def ask_new(request: Request) -> Response:
    return page(request, "repositories/new.html", given={"encryption": "yes", "compression": "default"})


@router.post("/new", dependencies=[needs(Permission.MANAGE)])
def create(request: Request, space: Space, form: Form) -> Response:
    """Create a repository, or know one that exists."""
    try:
        key, name, url = Key(_key(form)), form.get("name", ""), form.get("url", "")
        if form.get("existing"):
            record = repositories.add(space, name, url, key)
        else:
            record = repositories.create(space, name, url, key, _options(form))
    except VbmError as error:
        given = {field: form.get(field, "") for field in _KEPT}
        return again(request, "repositories/new.html", error, given=given)
    return back(f"/repositories/{record.id}", "repository-added")


def _key(form: Mapping[str, str]) -> KeySource:
    if form.get("encryption") == "no":
        return NoKey()
    passphrase = form.get("passphrase", "")
    if form.get("existing"):
        return Passphrase(passphrase)
    if len(passphrase) < _SHORTEST_PASSPHRASE:
        raise InputError(
            f"the passphrase has fewer than {_SHORTEST_PASSPHRASE} characters",
            hint="four or more words are good",
        )
    if passphrase != form.get("repeated", ""):
        raise InputError("the two passphrases are not the same", hint="type it twice")
    return Passphrase(passphrase)


def _options(form: Mapping[str, str]) -> RepositoryOptions:
    return RepositoryOptions(
        parse_size(form.get("chunk_size") or "1MiB"), form.get("compression") or "default"
    )


@router.get("/{repository}", dependencies=[needs(Permission.SEE)])
def show_repository(request: Request, space: Space, repository: str) -> Response:
    """What is known of it without opening it; its usage is asked for by the page afterwards."""
    record = repositories.get(space, repository)
    count, machines = points.count(space, record.id)
    newest = points.listing(space, PointFilter(repository_id=record.id, limit=1))
    return page(
        request,
        "repositories/repository.html",
        repository=record,
        space={s.id: s for s in overview.spaces(space)}[record.id],
        points=count,
        vms=machines,
        newest=newest[0] if newest else None,
        jobs=[job for job in jobs.visible(space) if job.repository_id == record.id],
        now=space.clock.now(),
    )


@router.get("/{repository}/usage", dependencies=[needs(Permission.SEE)])
def usage(request: Request, space: Space, repository: str) -> Response:
    """What each VM costs: reads every map, so it takes a while in a large repository."""
    record = repositories.get(space, repository)
    try:
        _, found = upkeep.stats(space, Where(name=record.name), CancelToken())
        document = upkeep.usage_document(space, record, found)
    except VbmError as error:
        return page(request, "repositories/usage.html", problem=error, usage=None, repository=record)
    return page(request, "repositories/usage.html", usage=document, ratio=found.ratio, repository=record)


@router.get("/{repository}/forget", dependencies=[needs(Permission.MANAGE)])
def ask_forget(request: Request, space: Space, repository: str) -> Response:
    record = repositories.get(space, repository)
    count, _ = points.count(space, record.id)
    return page(request, "repositories/forget.html", repository=record, points=count)


@router.post("/{repository}/forget", dependencies=[needs(Permission.MANAGE)])
def forget(request: Request, space: Space, repository: str, form: Form) -> Response:
    """Name and key are forgotten, data stays; with the name typed."""
    record = repositories.get(space, repository)
    try:
        if form.get("name", "").strip() != record.name:
            raise InputError(
                "the name that was typed is not the repository's", hint=f"type it: {record.name}"
            )
        repositories.forget(space, record.id)
    except VbmError as error:
        count, _ = points.count(space, record.id)
        return again(request, "repositories/forget.html", error, repository=record, points=count)
    return back("/repositories", "repository-forgotten")
