"""Repositories: create, add an existing one, list, open, forget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from vbm.catalog.jobs import check_unused
from vbm.catalog.locks import one_at_a_time
from vbm.catalog.names import checked_name
from vbm.catalog.repositories import (
    KeyKind,
    RepositoryRecord,
    all_repositories,
    delete_repository,
    insert_repository,
    name_taken,
    replace_repository,
    repository_by_name,
    repository_exists,
)
from vbm.errors import InputError, NotFoundError
from vbm.ids import new_id
from vbm.objectstore.registry import open_store
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import KeyFile, KeySource, NoKey, Passphrase, WrongKeyError
from vbm.repository.repository import Repository
from vbm.services import identity, trail
from vbm.services.conditions import anything
from vbm.services.repository_address import absolute
from vbm.services.workspace import Workspace

_CREATE_FIRST = "create one: vbm repository create NAME file:///path --passphrase-env VAR"


@dataclass(frozen=True, slots=True)
class Key:
    """A repository's key and how it is come by later, when nobody is there to type it."""

    source: KeySource
    file: str = ""  # absolute path, for a key file

    @property
    def kind(self) -> KeyKind:
        if isinstance(self.source, Passphrase):
            return KeyKind.PASSPHRASE
        if isinstance(self.source, KeyFile):
            return KeyKind.KEY_FILE
        if isinstance(self.source, NoKey):
            return KeyKind.NONE
        raise InputError(
            "a recovery key is not for daily use",
            hint="add a passphrase with it first: vbm repository keys NAME add --repository-url URL",
        )


def check_new(workspace: Workspace, name: str) -> str:
    """The name, all right and free: said before anybody is asked for a passphrase."""
    name = checked_name(name)
    with workspace.catalog.reading() as session:
        if repository_exists(session, name):
            raise name_taken(name)
    return name


def create(
    workspace: Workspace, name: str, url: str, key: Key, options: RepositoryOptions
) -> RepositoryRecord:
    """A new repository at that address, known by that name. Nothing is kept where any step fails."""
    identity.require_everywhere("create repositories")
    name = check_new(workspace, name)
    _ = key.kind
    url = absolute(url)
    store = open_store(url)
    repository = Repository.create(store, key.source, options, clock=workspace.clock)
    try:
        return _remember(workspace, name, store.url, key, repository)
    finally:
        repository.close()


def add(workspace: Workspace, name: str, url: str, key: Key) -> RepositoryRecord:
    """Know an existing repository by that name, after opening it with the key."""
    identity.require_everywhere("add repositories")
    name = check_new(workspace, name)
    store = open_store(absolute(url))
    repository = Repository.open(store, key.source, clock=workspace.clock)
    try:
        return _remember(workspace, name, store.url, key, repository)
    finally:
        repository.close()


def listing(workspace: Workspace) -> list[RepositoryRecord]:
    """Every repository, by name."""
    with workspace.catalog.reading() as session:
        return all_repositories(session)


def get(workspace: Workspace, name: str) -> RepositoryRecord:
    """The repository of that name. Raises UnknownNameError with the nearest name."""
    with workspace.catalog.reading() as session:
        return repository_by_name(session, name)


def some(workspace: Workspace, name: str | None) -> list[RepositoryRecord]:
    """The repository of that name, or all. NotFoundError where none is known."""
    known = [get(workspace, name)] if name is not None else listing(workspace)
    if not known:
        raise NotFoundError("no repository is known yet", hint=_CREATE_FIRST)
    return known


class OtherRepositoryError(InputError):
    """At the new address lies another repository."""

    code = "other-repository"


@dataclass(frozen=True, slots=True)
class RepositoryChange:
    """None: it stays. ``url``: where the same repository lies now; ``passphrase``: one that opens it."""

    name: str | None = None
    url: str | None = None
    passphrase: str | None = field(default=None, repr=False)


def change(
    workspace: Workspace,
    name: str,
    wanted: RepositoryChange,
    condition: Callable[[RepositoryRecord], None] = anything,
) -> RepositoryRecord:
    """Another name; another address or passphrase once it opens so. Raises OtherRepositoryError, NameTakenError."""
    identity.require_everywhere("change repositories")
    old = get(workspace, name)
    condition(old)
    new = replace(old, name=checked_name(wanted.name if wanted.name is not None else old.name))
    if wanted.passphrase is not None:
        sealed = workspace.vault.seal(wanted.passphrase, _context(old.id))
        new = replace(new, key_kind=KeyKind.PASSPHRASE, key_file="", sealed_passphrase=sealed)
    if wanted.url is not None:
        new = replace(new, url=absolute(wanted.url))
    if wanted.passphrase is not None or wanted.url is not None:
        opened = open_stored(workspace, new)
        found, new = str(opened.id), replace(new, url=opened.store.url)
        opened.close()
        if found != old.repository_id:
            raise OtherRepositoryError(
                f"at {new.url} lies another repository", hint="add it under a name of its own"
            )
    with workspace.catalog.writing() as session:
        one_at_a_time(session, "repository")
        condition(repository_by_name(session, old.id))
        replace_repository(session, new)
        detail = {"url": new.url, "passphrase": wanted.passphrase is not None}
        trail.note(workspace, session, "repository.change", new.name, detail)
    return new


def forget(
    workspace: Workspace, name: str, condition: Callable[[RepositoryRecord], None] = anything
) -> RepositoryRecord:
    """Drop the name and the stored key. The repository itself is not touched."""
    identity.require_everywhere("remove repositories")
    with workspace.catalog.writing() as session:
        record = repository_by_name(session, name)
        condition(record)
        check_unused(session, f"repository {record.name}", record.id)
        delete_repository(session, record.id)
        trail.note(workspace, session, "repository.forget", record.name)
    return record


def get_or_only(workspace: Workspace, name: str | None) -> RepositoryRecord:
    """The repository of that name; the only one where no name is given. NotFoundError, InputError."""
    known = some(workspace, name)
    if len(known) > 1:
        names = ", ".join(repr(r.name) for r in known)
        raise InputError(f"which repository? There are {len(known)}: {names}", hint="give its name")
    return known[0]


def open_stored(workspace: Workspace, record: RepositoryRecord) -> Repository:
    """The repository, opened with its stored key; the caller closes it."""
    return Repository.open(open_store(record.url), _stored_key(workspace, record), clock=workspace.clock)


def stored_key_opens(workspace: Workspace, name: str) -> bool:
    """Whether the key that is kept here still opens the repository."""
    try:
        open_stored(workspace, get(workspace, name)).close()
    except WrongKeyError:
        return False
    return True


def _remember(
    workspace: Workspace, name: str, url: str, key: Key, repository: Repository
) -> RepositoryRecord:
    now = workspace.clock.now()
    record_id = new_id(now)
    sealed = ""
    if isinstance(key.source, Passphrase):
        sealed = workspace.vault.seal(key.source.text, _context(record_id))
    record = RepositoryRecord(
        id=record_id,
        name=name,
        url=url,
        repository_id=str(repository.id),
        key_kind=key.kind,
        key_file=key.file,
        chunk_size_bytes=repository.config.chunk_size_bytes,
        compression=str(repository.config.compression),
        created=now,
        sealed_passphrase=sealed,
    )
    with workspace.catalog.writing() as session:
        insert_repository(session, record)
        trail.note(workspace, session, "repository.add", name, {"url": url})
    return record


def _stored_key(workspace: Workspace, record: RepositoryRecord) -> KeySource:
    if record.key_kind is KeyKind.NONE:
        return NoKey()
    if record.key_kind is KeyKind.PASSPHRASE:
        return Passphrase(workspace.vault.unseal(record.sealed_passphrase, _context(record.id)))
    try:
        return KeyFile(Path(record.key_file).read_bytes())
    except OSError as error:
        raise NotFoundError(
            f"the key file {record.key_file} of repository {record.name} can't be read: {error.strerror}",
            hint="mount or restore it; without it or a recovery key the repository can't be opened",
        ) from error


def _context(record_id: str) -> str:
    return f"repository/{record_id}/passphrase"
