"""The identity provider that people may sign in at, one at most; its secret is sealed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Final

from sqlalchemy.orm import Session

from vbm.catalog.preferences import SettingRow

_NAME: Final = "oidc"


@dataclass(frozen=True, slots=True)
class OidcRecord:
    """``roles``: (group, role); ``limits``: (group, places that its role is limited to), of those that have any.

    ``default_role`` empty: who is in none of the groups is refused.

    ``url``: under which browsers reach this server. ``ca_file`` empty: the system's authorities.
    """

    issuer: str
    client_id: str
    url: str
    label: str
    groups_claim: str
    roles: tuple[tuple[str, str], ...] = ()
    default_role: str = ""
    ca_file: str = ""
    sealed_secret: str = field(repr=False, default="")
    limits: tuple[tuple[str, tuple[str, ...]], ...] = ()


def find_oidc(session: Session) -> OidcRecord | None:
    row = session.get(SettingRow, _NAME)
    if row is None:
        return None
    roles = tuple((str(group), str(role)) for group, role in row.value["roles"])
    limits = tuple((str(group), tuple(places)) for group, places in row.value.get("limits", ()))
    return OidcRecord(**row.value | {"roles": roles, "limits": limits})


def put_oidc(session: Session, record: OidcRecord) -> None:
    session.merge(SettingRow(name=_NAME, value=asdict(record)))


def drop_oidc(session: Session) -> bool:
    """Whether there was one."""
    row = session.get(SettingRow, _NAME)
    if row is not None:
        session.delete(row)
    return row is not None
