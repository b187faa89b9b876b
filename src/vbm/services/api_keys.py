"""API keys for scripts and dashboards: shown once, kept as a hash, with a role, an end and a last use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from vbm.catalog.base import Transaction
from vbm.catalog.errors import UnknownNameError
from vbm.catalog.names import checked_name
from vbm.catalog.users import (
    ApiKeyRecord,
    all_api_keys,
    api_key_by_hash,
    delete_api_key,
    find_api_key,
    find_user,
    insert_api_key,
    touch_api_key,
)
from vbm.errors import InputError
from vbm.ids import new_id
from vbm.policy.scope import Scope
from vbm.security.roles import Role, weaker
from vbm.security.tokens import API_KEY_PREFIX, kept, new_api_key
from vbm.services import identity, limits, trail
from vbm.services.identity import Identity
from vbm.services.limits import Folder
from vbm.services.workspace import Workspace

_TOUCH_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class NewApiKey:
    name: str
    role: Role
    expires: datetime | None = None
    vcenters: tuple[str, ...] = ()
    folders: tuple[Folder, ...] = ()


def create(workspace: Workspace, new: NewApiKey) -> tuple[ApiKeyRecord, str]:
    """(its record, the key itself, which nobody can see again). Raises InputError, UnknownNameError."""
    who = identity.require_everywhere("create API keys")
    now = workspace.clock.now()
    if new.expires is not None and new.expires <= now:
        raise InputError("the key would have expired already", hint="name a time in the future")
    key = new_api_key()
    with workspace.catalog.writing() as session:
        record = ApiKeyRecord(
            id=new_id(now),
            name=checked_name(new.name),
            user_id=who.user_id,
            role=new.role.value,
            created=now,
            expires=new.expires,
            scope=limits.stored(session, new.vcenters, new.folders),
            hash=kept(key),
        )
        insert_api_key(session, record)
        trail.note(workspace, session, "api-key.create", record.name, {"id": record.id, "role": record.role})
    return record, key


def listing(workspace: Workspace) -> list[ApiKeyRecord]:
    """The newest first."""
    identity.require_everywhere("see API keys")
    with workspace.catalog.reading() as session:
        return all_api_keys(session)


def get(workspace: Workspace, key_id: str) -> ApiKeyRecord:
    """Raises UnknownNameError."""
    identity.require_everywhere("see API keys")
    with workspace.catalog.reading() as session:
        return _known(session, key_id)


def _known(session: Transaction, key_id: str) -> ApiKeyRecord:
    record = find_api_key(session, key_id)
    if record is None:
        raise UnknownNameError(f"there is no API key {key_id!r}", hint="look at: vbm api-key list")
    return record


def revoke(workspace: Workspace, key_id: str) -> ApiKeyRecord:
    """Raises UnknownNameError."""
    identity.require_everywhere("revoke API keys")
    with workspace.catalog.writing() as session:
        record = _known(session, key_id)
        delete_api_key(session, key_id)
        trail.note(workspace, session, "api-key.revoke", record.name, {"id": record.id})
    return record


def identified(workspace: Workspace, key: str, source: str) -> Identity | None:
    """Who asks with this key; None where it is unknown, expired, or its maker may no longer sign in."""
    if not key.startswith(API_KEY_PREFIX):
        return None
    now = workspace.clock.now()
    with workspace.catalog.reading() as session:
        record = api_key_by_hash(session, kept(key))
        owner = find_user(session, record.user_id) if record is not None and record.user_id else None
    if record is None or (record.expires is not None and record.expires <= now):
        return None
    if record.user_id and (owner is None or owner.disabled):
        return None
    if record.last_used is None or now - record.last_used >= _TOUCH_EVERY:
        with workspace.catalog.writing() as session:
            touch_api_key(session, record.id, now)
    role = Role(record.role) if owner is None else weaker(Role(record.role), Role(owner.role))
    scope = Scope.of(record.scope).narrowed(Scope.of(owner.scope if owner is not None else ()))
    return Identity(f"key:{record.name}", role, source, scope)
