"""Between password and code: a sealed note that the password was right, good for five minutes and one address."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Final

from vbm.catalog.users import UserRecord, find_user
from vbm.errors import VbmError
from vbm.services import second_factor, sign_in
from vbm.services.sign_in import Attempt, SignedIn, SignInError, Throttle
from vbm.services.workspace import Workspace

LASTS_SECONDS: Final = 300
_CONTEXT: Final = "sign-in/second-step"


def note(workspace: Workspace, attempt: Attempt) -> str:
    """For the browser to bring back with the code. Only after ``CodeNeededError``: the password was right."""
    with workspace.catalog.reading() as session:
        user = find_user(session, attempt.name)
    assert user is not None  # noqa: S101 - its password was right
    now = int(workspace.clock.now().timestamp())
    told = {"user": user.id, "from": attempt.address, "until": now + LASTS_SECONDS, "mark": _mark(user)}
    return workspace.vault.seal(json.dumps(told), _CONTEXT)


def finish(workspace: Workspace, sealed: str, attempt: Attempt, throttle: Throttle) -> SignedIn:
    """A new session. Raises SignInError and ThrottledError."""
    user = _user_of(workspace, sealed, attempt.address)
    if user is None:
        raise SignInError("the sign-in took too long", hint="type name and password again")
    named = replace(attempt, name=user.name)
    throttle.check(named)
    if not second_factor.accept(workspace, user, attempt.code):
        sign_in.refuse(workspace, named, throttle)
        raise SignInError("the code is wrong or was used already", hint="wait for the next code")
    return sign_in.begin(workspace, user, attempt.address, attempt.agent)


def _user_of(workspace: Workspace, sealed: str, address: str) -> UserRecord | None:
    """Whose password was right a moment ago, from there, and is still the same."""
    try:
        told = json.loads(workspace.vault.unseal(sealed, _CONTEXT))
    except VbmError:
        return None
    if told["from"] != address or workspace.clock.now().timestamp() > told["until"]:
        return None
    with workspace.catalog.reading() as session:
        user = find_user(session, told["user"])
    fits = user is not None and not user.disabled and user.has_second_factor and _mark(user) == told["mark"]
    return user if fits else None


def _mark(user: UserRecord) -> str:
    return hashlib.sha256(user.password_hash.encode()).hexdigest()[:16]
