"""Which repositories a command works on: one by name, all that are known, or one by address without a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vbm.errors import NotAllowedError, VbmError
from vbm.later import later
from vbm.repository.keys import KeySource, NoKey
from vbm.repository.repository import Repository
from vbm.services.repository_address import open_at
from vbm.services.workspace import Workspace

if TYPE_CHECKING:
    from vbm.services import repositories
else:
    repositories = later("vbm.services.repositories")


@dataclass(frozen=True, slots=True)
class Where:
    """``url`` set: that repository and no other, no database is opened. Else ``name``, or all where None.

    Without ``key`` at a ``url`` the repository is tried unencrypted, then ``ask`` is called for the key.
    """

    name: str | None = None
    url: str | None = None
    key: KeySource | None = None
    ask: Callable[[], KeySource] | None = None


@contextmanager
def one(workspace: Workspace, where: Where) -> Iterator[tuple[str, Repository]]:
    """(what to call it, the repository), open. Without name and url it must be the only one that is known."""
    if where.url is not None:
        with _at_address(where) as repository:
            yield where.url, repository
        return
    record = repositories.get_or_only(workspace, where.name)
    repository = repositories.open_stored(workspace, record)
    with closing(repository):
        yield record.name, repository


def each(
    workspace: Workspace, where: Where, failed: Callable[[str, VbmError], None]
) -> Iterator[tuple[str, Repository]]:
    """(name, repository), one open at a time. Of several, one that can't be opened is told to ``failed``."""
    if where.url is not None:
        with one(workspace, where) as opened:
            yield opened
        return
    records = repositories.some(workspace, where.name)
    for record in records:
        try:
            repository = repositories.open_stored(workspace, record)
        except VbmError as error:
            if len(records) == 1:
                raise
            failed(record.name, error)
            continue
        with closing(repository):
            yield record.name, repository


@contextmanager
def _at_address(where: Where) -> Iterator[Repository]:
    assert where.url is not None  # noqa: S101 - the caller's case
    try:
        opening = open_at(where.url, where.key or NoKey())
    except NotAllowedError:
        if where.key is not None or where.ask is None:
            raise
        opening = open_at(where.url, where.ask())
    with closing(opening):
        yield opening
