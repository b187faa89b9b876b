"""What somebody's groups at the identity provider give them here: a role, and what it is limited to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from vbm.catalog.oidc import OidcRecord
from vbm.errors import NotAllowedError
from vbm.security.roles import Role, stronger


class IdentityRefusedError(NotAllowedError):
    """The identity provider knows this person; this installation does not let them in."""

    code = "identity-unknown"


@dataclass(frozen=True, slots=True)
class Granted:
    """``scope`` as users keep it; None: limits are given by hand, not by groups."""

    role: Role
    scope: tuple[str, ...] | None


def granted(record: OidcRecord, claims: Mapping[str, Any]) -> Granted:
    """The strongest role that the groups give, limited to what the groups that give it are limited to together.

    One of them without limits gives it everywhere; a group that gives a weaker role adds nothing. The default is for
    who is in none of them. Raises IdentityRefusedError.
    """
    given = claims.get(record.groups_claim, ())
    groups = {given} if isinstance(given, str) else {str(group) for group in given or ()}
    roles = {group: Role(role) for group, role in record.roles if group in groups}
    if not roles and not record.default_role:
        raise IdentityRefusedError(
            "none of your groups may use this installation", hint="ask an administrator to let one of them in"
        )
    role = reduce(stronger, roles.values()) if roles else Role(record.default_role)
    if not record.limits:
        return Granted(role, None)
    places = [dict(record.limits).get(group, ()) for group, theirs in roles.items() if theirs == role]
    everywhere = not places or not all(places)
    return Granted(role, () if everywhere else tuple(sorted({one for each in places for one in each})))
