"""Who asks: set once at the edge (command line, web, worker), asked for by every use case.

At the command line it is the account that runs the process, which owns the data. The web begins each request as
``NOBODY``, who may do nothing, until it knows better.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from vbm.errors import NotAllowedError
from vbm.policy.scope import Scope
from vbm.security.roles import Permission, PermissionMissingError, Role, permits


class NotSignedInError(NotAllowedError):
    """Nobody is signed in."""

    code = "not-signed-in"


@dataclass(frozen=True, slots=True)
class Identity:
    """``name`` as the audit trail shows it: ``cli:root``, ``anna``, ``key:grafana``. ``source``: from where."""

    name: str
    role: Role | None
    source: str = ""
    scope: Scope = field(default_factory=Scope)
    user_id: str = ""


NOBODY: Final = Identity("nobody", None)


def at_the_command_line() -> Identity:
    """The account that runs this process."""
    try:
        return Identity(f"cli:{getpass.getuser()}", Role.ADMIN)
    except (KeyError, OSError):  # a container without a passwd entry
        return Identity("cli", Role.ADMIN)


_CURRENT: Final[ContextVar[Identity | None]] = ContextVar("vbm_identity", default=None)


def current() -> Identity:
    return _CURRENT.get() or at_the_command_line()


@contextmanager
def acting(identity: Identity) -> Iterator[Identity]:
    """Everything within is asked for by ``identity``; threads started within do not inherit it."""
    mark = _CURRENT.set(identity)
    try:
        yield identity
    finally:
        _CURRENT.reset(mark)


def require(permission: Permission, what: str = "") -> Identity:
    """Raises PermissionMissingError where the role of who asks does not permit it."""
    who = current()
    if who.role is None:
        raise NotSignedInError("nobody is signed in", hint="sign in, or send an API key")
    if not permits(who.role, permission):
        raise PermissionMissingError(
            f"the role {who.role} may not {what or _WHAT[permission]}",
            hint="ask an administrator to do it, or for another role",
        )
    return who


def require_everywhere(what: str, permission: Permission = Permission.MANAGE) -> Identity:
    """For what belongs to no VM. Raises PermissionMissingError where who asks is limited to some of them."""
    who = require(permission, what)
    if not who.scope.everything:
        raise PermissionMissingError(
            f"{who.name} is limited to some VMs and may not {what}",
            hint="ask an administrator without limits",
        )
    return who


def require_all_of(vcenter_id: str, what: str) -> None:
    """Raises PermissionMissingError where who asks is limited to other vCenters, or to folders of this one."""
    who = current()
    if not who.scope.has_all_of(vcenter_id):
        raise PermissionMissingError(
            f"{who.name} is limited to other VMs and may not {what}",
            hint="ask an administrator without limits",
        )


_WHAT: Final = {
    Permission.SEE: "see this",
    Permission.OPERATE: "start, cancel, verify or restore",
    Permission.MANAGE: "change settings",
}


def become(identity: Identity) -> Identity:
    """From here on in this context ``identity`` asks. For the edge of a request, whose context ends with it."""
    _CURRENT.set(identity)
    return identity
