"""Users: who may sign in and as what. Local ones have a password here; those of an identity provider have none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vbm.catalog.base import Transaction
from vbm.catalog.locks import one_at_a_time
from vbm.catalog.names import checked_name
from vbm.catalog.users import (
    UserRecord,
    all_users,
    any_user,
    change_user,
    count_admins,
    delete_user,
    delete_web_sessions_of,
    insert_user,
    user_by_name,
)
from vbm.errors import InputError, NotAllowedError
from vbm.ids import new_id
from vbm.policy.scope import folders_within, whole_vcenters
from vbm.security.passwords import check_rules, hash_password
from vbm.security.roles import Role
from vbm.services import identity, limits, trail
from vbm.services.conditions import anything
from vbm.services.limits import Folder
from vbm.services.workspace import Workspace


class LastAdminError(NotAllowedError):
    """Somebody must remain who can sign in and manage users."""

    code = "last-admin"


class SetUpDoneError(NotAllowedError):
    """The first administrator exists already."""

    code = "set-up-done"


@dataclass(frozen=True, slots=True)
class NewUser:
    """``vcenters``, by name or id, and ``folders`` that the user is limited to; none: everything."""

    name: str
    role: Role
    password: str = field(repr=False)
    vcenters: tuple[str, ...] = ()
    folders: tuple[Folder, ...] = ()


def none_yet(workspace: Workspace) -> bool:
    """Whether the first administrator is still to be made."""
    with workspace.catalog.reading() as session:
        return not any_user(session)


def set_up(workspace: Workspace, name: str, password: str) -> UserRecord:
    """Make the first administrator. Raises SetUpDoneError where there is a user already."""
    new = NewUser(name, Role.ADMIN, password)
    prepared = _prepared(workspace, new)
    with workspace.catalog.writing() as session:
        if any_user(session):
            raise SetUpDoneError("the first administrator exists already", hint="sign in")
        insert_user(session, prepared)
        trail.note(workspace, session, "user.set-up", prepared.name)
    return prepared


def create(workspace: Workspace, new: NewUser) -> UserRecord:
    """Raises WeakPasswordError, NameTakenError, UnknownNameError."""
    identity.require_everywhere("create users")
    record = _prepared(workspace, new)
    with workspace.catalog.writing() as session:
        insert_user(session, record)
        trail.note(
            workspace,
            session,
            "user.create",
            record.name,
            {"role": record.role, "scope": list(record.scope)},
        )
    return record


def _prepared(workspace: Workspace, new: NewUser) -> UserRecord:
    name = checked_name(new.name)
    check_rules(new.password, name)
    now = workspace.clock.now()
    with workspace.catalog.reading() as session:
        scope = limits.stored(session, new.vcenters, new.folders)
    return UserRecord(
        id=new_id(now),
        name=name,
        role=new.role.value,
        created=now,
        scope=scope,
        password_hash=hash_password(new.password),
    )


def listing(workspace: Workspace) -> list[UserRecord]:
    """Every user, by name."""
    identity.require_everywhere("see users")
    with workspace.catalog.reading() as session:
        return all_users(session)


def get(workspace: Workspace, name: str) -> UserRecord:
    identity.require_everywhere("see users")
    with workspace.catalog.reading() as session:
        return user_by_name(session, name)


def set_role(
    workspace: Workspace,
    name: str,
    role: Role,
    vcenters: Sequence[str] | None = None,
    folders: Sequence[Folder] | None = None,
) -> UserRecord:
    """Another role; other limits where any are given. Raises LastAdminError."""
    return change(workspace, name, UserChange(role, vcenters, folders), action="user.set-role")


def set_disabled(workspace: Workspace, name: str, *, disabled: bool) -> UserRecord:
    """Disabling signs the user out everywhere. Raises LastAdminError."""
    action = "user.disable" if disabled else "user.enable"
    return change(workspace, name, UserChange(disabled=disabled), action=action)


@dataclass(frozen=True, slots=True)
class UserChange:
    """None: it stays."""

    role: Role | None = None
    vcenters: Sequence[str] | None = None
    folders: Sequence[Folder] | None = None
    disabled: bool | None = None
    password: str | None = field(default=None, repr=False)


def change(
    workspace: Workspace,
    name: str,
    wanted: UserChange,
    condition: Callable[[UserRecord], None] = anything,
    *,
    action: str = "user.change",
) -> UserRecord:
    """All of it or nothing. Raises LastAdminError, WeakPasswordError, UnknownNameError, InputError."""
    identity.require_everywhere("change users")
    hashed = _hashed(get(workspace, name), wanted.password) if wanted.password is not None else ""
    with workspace.catalog.writing() as session:
        one_at_a_time(session, "user")
        record = user_by_name(session, name)
        condition(record)
        values: dict[str, Any] = {} if wanted.role is None else {"role": wanted.role.value}
        if wanted.vcenters is not None or wanted.folders is not None:
            whole = whole_vcenters(record.scope) if wanted.vcenters is None else wanted.vcenters
            parts = folders_within(record.scope) if wanted.folders is None else wanted.folders
            values["scope"] = list(limits.stored(session, whole, parts))
        if wanted.disabled is not None:
            values["disabled"] = wanted.disabled
        noted = dict(values) | ({"password": True} if hashed else {})
        if hashed:
            values["password_hash"] = hashed
        if values:
            change_user(session, record.id, values)
            trail.note(workspace, session, action, record.name, noted)
        if wanted.disabled or hashed:
            delete_web_sessions_of(session, record.id)
        _keep_an_admin(session)
        return user_by_name(session, record.id)


def _hashed(record: UserRecord, password: str) -> str:
    if record.source != "local":
        raise InputError(f"{record.name} signs in at the identity provider and has no password here")
    check_rules(password, record.name)
    return hash_password(password)


def remove(workspace: Workspace, name: str, condition: Callable[[UserRecord], None] = anything) -> UserRecord:
    """The user, its sessions and its keys. Raises LastAdminError."""
    identity.require_everywhere("delete users")
    with workspace.catalog.writing() as session:
        record = user_by_name(session, name)
        condition(record)
        delete_user(session, record.id)
        _keep_an_admin(session)
        trail.note(workspace, session, "user.delete", record.name)
    return record


def _keep_an_admin(session: Transaction) -> None:
    one_at_a_time(session, "user")  # two that make each other no administrator
    if not count_admins(session):
        raise LastAdminError(
            "that would leave no administrator who can sign in",
            hint="make another user an administrator first",
        )


def set_password(workspace: Workspace, name: str, password: str, *, keep_session: str = "") -> None:
    """A new password; signs the user out everywhere but in ``keep_session``. One's own needs no permission."""
    who = identity.current()
    with workspace.catalog.reading() as session:
        record = user_by_name(session, name)
    if record.id != who.user_id:
        identity.require_everywhere("set another user's password")
    hashed = _hashed(record, password)
    with workspace.catalog.writing() as session:
        change_user(session, record.id, {"password_hash": hashed})
        delete_web_sessions_of(session, record.id, but=keep_session)
        trail.note(workspace, session, "user.set-password", record.name)
