"""``/users`` and ``/api-keys``: who may do what; for administrators."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from vbm.errors import InputError, VbmError
from vbm.policy.scope import whole_vcenters
from vbm.security.roles import Permission, Role
from vbm.services import accounts, api_keys, limits, second_factor, vcenters
from vbm.services.accounts import NewUser
from vbm.services.api_keys import NewApiKey
from vbm.services.limits import Folder
from vbm.services.workspace import Workspace
from vbm.web.access import needs
from vbm.web.pages import account
from vbm.web.pages.show import Fields, Form, again, back, page
from vbm.web.state import Space

router = APIRouter()
_MANAGE = [needs(Permission.MANAGE)]
ROLES: Final = (
    ("viewer", "Viewer", "Sees jobs, runs, VMs and restore points; changes nothing."),
    ("operator", "Operator", "Also starts and cancels runs, verifies, restores as a new VM."),
    ("admin", "Administrator", "Also changes jobs, deletes, restores in place, manages everything."),
)


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError as error:
        raise InputError(f"there is no role {text!r}", hint=f"use {', '.join(Role)}") from error


def _several(fields: Sequence[tuple[str, str]], name: str) -> tuple[str, ...]:
    return tuple(value for field, value in fields if field == name and value)


def _folders(space: Workspace, form: Form) -> tuple[Folder, ...]:
    """One a line."""
    lines = (line.strip() for line in form.get("folders", "").splitlines())
    return tuple(limits.folder(space, line) for line in lines if line)


def _vcenters(space: Workspace) -> dict[str, str]:
    return {record.id: record.name for record in vcenters.listing(space)}


@router.get("/users", dependencies=_MANAGE)
def list_users(request: Request, space: Space) -> Response:
    """Users and keys: everybody and everything that can sign in."""
    users = accounts.listing(space)
    return page(
        request,
        "people/list.html",
        users=users,
        keys=api_keys.listing(space),
        by_id={user.id: user.name for user in users},
        limits_of=partial(limits.said, names=_vcenters(space)),
        roles={key: title for key, title, _ in ROLES},
        now=space.clock.now(),
    )


@router.get("/users/new", dependencies=_MANAGE)
def ask_new_user(request: Request, space: Space) -> Response:
    given = {"name": "", "role": "viewer", "vcenters": (), "folders": ""}
    return page(request, "people/new_user.html", given=given, roles=ROLES, vcenters=_vcenters(space))


@router.post("/users/new", dependencies=_MANAGE)
def create_user(request: Request, space: Space, form: Form, fields: Fields) -> Response:
    limited = _several(fields, "vcenter")
    try:
        _same(form)
        role, password = _role(form.get("role", "")), form.get("password", "")
        new = NewUser(form.get("name", ""), role, password, limited, _folders(space, form))
        record = accounts.create(space, new)
    except VbmError as error:
        given = {name: form.get(name, "") for name in ("name", "role", "folders")} | {"vcenters": limited}
        return again(
            request, "people/new_user.html", error, given=given, roles=ROLES, vcenters=_vcenters(space)
        )
    return back(f"/users/{record.id}", "user-created")


def _same(form: Form) -> None:
    if form.get("password", "") != form.get("repeated", ""):
        raise InputError("the two passwords are not the same", hint="type it twice")


def _user_page(request: Request, space: Workspace, user: str, error: VbmError | None = None) -> Response:
    record, names = accounts.get(space, user), _vcenters(space)
    context: dict[str, Any] = {
        "user": record,
        "roles": ROLES,
        "vcenters": names,
        "limited": whole_vcenters(record.scope),
        "folders": "\n".join(limits.said((p for p in record.scope if "/" in p), names)),
        "now": space.clock.now(),
    }
    if error is not None:
        return again(request, "people/user.html", error, **context)
    return page(request, "people/user.html", **context)


@router.get("/users/{user}", dependencies=_MANAGE)
def show_user(request: Request, space: Space, user: str) -> Response:
    return _user_page(request, space, user)


@router.post("/users/{user}/role", dependencies=_MANAGE)
def set_role(request: Request, space: Space, user: str, form: Form, fields: Fields) -> Response:
    try:
        role, folders = _role(form.get("role", "")), _folders(space, form)
        accounts.set_role(space, user, role, _several(fields, "vcenter"), folders)
    except VbmError as error:
        return _user_page(request, space, user, error)
    return back(f"/users/{user}", "user-changed")


@router.post("/users/{user}/disabled", dependencies=_MANAGE)
def set_disabled(request: Request, space: Space, user: str, form: Form) -> Response:
    """Disabling signs the user out everywhere."""
    disabled = form.get("disabled") == "yes"
    try:
        accounts.set_disabled(space, user, disabled=disabled)
    except VbmError as error:
        return _user_page(request, space, user, error)
    return back(f"/users/{user}", "user-disabled" if disabled else "user-enabled")


@router.post("/users/{user}/password", dependencies=_MANAGE)
def set_password(request: Request, space: Space, user: str, form: Form) -> Response:
    """A new password, told to its user by another way; it signs them out everywhere."""
    try:
        _same(form)
        accounts.set_password(space, user, form.get("password", ""))
    except VbmError as error:
        return _user_page(request, space, user, error)
    return back(f"/users/{user}", "password-set")


@router.post("/users/{user}/second-factor", dependencies=_MANAGE)
def reset_second_factor(space: Space, user: str) -> Response:
    """For somebody who lost the phone and the recovery codes."""
    record = accounts.get(space, user)
    second_factor.disable(space, record.id)
    return back(f"/users/{record.id}", "second-factor-off")


@router.get("/users/{user}/delete", dependencies=_MANAGE)
def ask_delete(request: Request, space: Space, user: str) -> Response:
    record = accounts.get(space, user)
    keys = [key for key in api_keys.listing(space) if key.user_id == record.id]
    return page(request, "people/delete_user.html", user=record, keys=keys)


@router.post("/users/{user}/delete", dependencies=_MANAGE)
def delete(request: Request, space: Space, user: str) -> Response:
    record = accounts.get(space, user)
    try:
        accounts.remove(space, record.id)
    except VbmError as error:
        keys = [key for key in api_keys.listing(space) if key.user_id == record.id]
        return again(request, "people/delete_user.html", error, user=record, keys=keys)
    return back("/users", "user-deleted")


@router.get("/api-keys", dependencies=_MANAGE)
def keys_are_with_users() -> Response:
    return back("/users")


@router.get("/api-keys/new", dependencies=_MANAGE)
def ask_new_key(request: Request, space: Space) -> Response:
    given = {"name": "", "role": "viewer", "days": "365", "vcenters": (), "folders": ""}
    return page(request, "people/new_key.html", given=given, roles=ROLES, vcenters=_vcenters(space))


@router.post("/api-keys/new", dependencies=_MANAGE)
def create_key(request: Request, space: Space, form: Form, fields: Fields) -> Response:
    """Shown on this answer and never again."""
    limited, days = _several(fields, "vcenter"), form.get("days", "")
    try:
        expires = space.clock.now() + timedelta(days=_days(days)) if days else None
        role = _role(form.get("role", ""))
        new = NewApiKey(form.get("name", ""), role, expires, limited, _folders(space, form))
        record, key = api_keys.create(space, new)
    except VbmError as error:
        kept = ("name", "role", "days", "folders")
        given = {name: form.get(name, "") for name in kept} | {"vcenters": limited}
        return again(
            request, "people/new_key.html", error, given=given, roles=ROLES, vcenters=_vcenters(space)
        )
    return page(request, "people/key_made.html", key=record, text=key, now=space.clock.now())


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 3660):
        raise InputError(f"not a number of days: {text!r}", hint="1 to 3660, or leave it empty")
    return int(text)


@router.post("/api-keys/{key_id}/revoke", dependencies=_MANAGE)
def revoke(space: Space, key_id: str) -> Response:
    """It opens nothing from now on."""
    api_keys.revoke(space, key_id)
    return back("/users", "key-revoked")


router.include_router(account.router)
