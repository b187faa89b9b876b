"""Roles and what each may do. Deny by default: what a role is not given here, it may not do."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Final

from vbm.errors import NotAllowedError


class Role(StrEnum):
    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


class Permission(Enum):
    """``SEE`` jobs, runs, VMs, restore points; ``OPERATE``: start, cancel, verify, restore as new; ``MANAGE`` all."""

    SEE = "see"
    OPERATE = "operate"
    MANAGE = "manage"


_GIVEN: Final = {
    Role.ADMIN: frozenset(Permission),
    Role.OPERATOR: frozenset({Permission.SEE, Permission.OPERATE}),
    Role.VIEWER: frozenset({Permission.SEE}),
}


class PermissionMissingError(NotAllowedError):
    """The role of who asks does not permit it."""

    code = "permission-missing"


def permits(role: Role, permission: Permission) -> bool:
    return permission in _GIVEN[role]


def weaker(one: Role, other: Role) -> Role:
    """The one that may do less."""
    return one if _GIVEN[one] <= _GIVEN[other] else other


def stronger(one: Role, other: Role) -> Role:
    """The one that may do more."""
    return other if weaker(one, other) is one else one
