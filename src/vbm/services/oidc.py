"""Sign-in at an identity provider by OpenID Connect: who it is, is the provider's to say; what they may, is ours.

People are known by issuer and subject, never by name or mail. Their role follows their groups at each sign-in. A local
user is never taken over, and the command line of this machine always remains.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from vbm.catalog.names import checked_name
from vbm.catalog.oidc import OidcRecord, drop_oidc, find_oidc, put_oidc
from vbm.catalog.users import UserRecord, change_user, find_subject, find_user, insert_user
from vbm.errors import InputError, NotFoundError, VbmError
from vbm.ids import new_id
from vbm.security.roles import Role
from vbm.security.tokens import new_token
from vbm.services import identity, limits, sign_in, trail
from vbm.services.oidc_groups import IdentityRefusedError, granted
from vbm.services.oidc_provider import Client, Proof, Provider
from vbm.services.sign_in import Attempt, SignedIn, Throttle
from vbm.services.workspace import Workspace

BACK: Final = "/sign-in/oidc/back"
LASTS_SECONDS: Final = 600
_SEALED_AS: Final = "oidc/secret"
_NOTE: Final = "sign-in/oidc"
_SCOPE: Final = "openid profile email"


@dataclass(frozen=True, slots=True)
class NewOidc:
    """``roles``: group → role. ``limits``: (group, ``VCENTER`` or ``VCENTER/FOLDER``)."""

    issuer: str
    client_id: str
    url: str
    secret: str = field(repr=False)
    roles: Mapping[str, Role] = field(default_factory=dict)
    default_role: Role | None = None
    label: str = ""
    groups_claim: str = "groups"
    ca_file: str = ""
    limits: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Returned:
    """What a browser brings back from the provider."""

    state: str
    code: str = field(repr=False)
    error: str = ""


def configured(workspace: Workspace) -> OidcRecord | None:
    with workspace.catalog.reading() as session:
        return find_oidc(session)


def configure(workspace: Workspace, new: NewOidc) -> OidcRecord:
    """Raises InputError."""
    identity.require_everywhere("set the identity provider")
    _check(new)
    record = OidcRecord(
        issuer=new.issuer,
        client_id=new.client_id,
        url=new.url.rstrip("/"),
        label=new.label or urlsplit(new.issuer).hostname or "the identity provider",
        groups_claim=new.groups_claim,
        roles=tuple(sorted((group, role.value) for group, role in new.roles.items())),
        default_role=new.default_role.value if new.default_role else "",
        ca_file=new.ca_file,
        sealed_secret=workspace.vault.seal(new.secret, _SEALED_AS),
        limits=_limits(workspace, new),
    )
    with workspace.catalog.writing() as session:
        put_oidc(session, record)
        noted: dict[str, Any] = {name: getattr(record, name) for name in ("issuer", "default_role")}
        noted |= {name: dict(getattr(record, name)) for name in ("roles", "limits")}
        trail.note(workspace, session, "oidc.set", record.label, noted)
    return record


def _limits(workspace: Workspace, new: NewOidc) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: dict[str, tuple[str, ...]] = {}
    for group in sorted({group for group, _ in new.limits}):
        if group not in new.roles:
            raise InputError(
                f"the group {group!r} is limited and has no role", hint=f"add --group {group}=viewer"
            )
        texts = [text for theirs, text in new.limits if theirs == group]
        found[group] = limits.places(workspace, texts)
    return tuple(found.items())


def _check(new: NewOidc) -> None:
    for name, given in (("issuer", new.issuer), ("address of this server", new.url)):
        parts = urlsplit(given)
        local = parts.hostname in {"127.0.0.1", "::1", "localhost"}
        if parts.scheme not in ({"https", "http"} if local else {"https"}) or not parts.hostname:
            raise InputError(f"the {name} is {given!r}", hint="write it like https://name.example.com")
    if not new.client_id or not new.secret:
        raise InputError("an identity provider needs a client id and a secret")
    if not new.roles and new.default_role is None:
        raise InputError(
            "nobody would be let in",
            hint="name a group with its role (--group admins=admin) or a default role",
        )
    if new.ca_file and not Path(new.ca_file).is_file():
        raise InputError(f"there is no file {new.ca_file}")


def remove(workspace: Workspace) -> None:
    """Nobody signs in there any more; the users stay until they are removed. Raises NotFoundError."""
    identity.require_everywhere("remove the identity provider")
    with workspace.catalog.writing() as session:
        if not drop_oidc(session):
            raise NotFoundError("no identity provider is set")
        trail.note(workspace, session, "oidc.remove", "")


def discovered(workspace: Workspace) -> dict[str, Any]:
    """Its discovery document. Raises ProviderError, NotFoundError."""
    identity.require_everywhere("test the identity provider")
    return _provider(workspace, _existing(workspace)).discover()


def begin(workspace: Workspace, target: str) -> tuple[str, str]:
    """(where the browser is sent, a sealed note that it keeps meanwhile). Raises ProviderError, NotFoundError."""
    proof = Proof(new_token(), new_token(), new_token() + new_token())
    url = _provider(workspace, _existing(workspace)).way_there(proof)
    until = int(workspace.clock.now().timestamp()) + LASTS_SECONDS
    told = {
        "state": proof.state,
        "nonce": proof.nonce,
        "verifier": proof.verifier,
        "target": target,
        "until": until,
    }
    return url, workspace.vault.seal(json.dumps(told), _NOTE)


def finish(
    workspace: Workspace, note: str, returned: Returned, attempt: Attempt, throttle: Throttle
) -> tuple[SignedIn, str]:
    """(a new session, where the person wanted to go).

    Raises SignInError, ThrottledError, ProviderError, TokenRefusedError, IdentityRefusedError, NotFoundError.
    """
    throttle.check(attempt)
    try:
        proof, target = _proof(workspace, note, returned)
        record = _existing(workspace)
        claims = _provider(workspace, record).claims(returned.code, proof)
        user = _user(workspace, record, claims)
    except VbmError as error:
        throttle.failed(attempt)
        with identity.acting(replace(identity.NOBODY, source=attempt.address)):
            trail.refused(workspace, "sign-in.oidc", "", error.code)
        raise
    return sign_in.begin(workspace, user, attempt.address, attempt.agent), target


def _proof(workspace: Workspace, note: str, returned: Returned) -> tuple[Proof, str]:
    """Of this very browser. Raises SignInError."""
    try:
        told = json.loads(workspace.vault.unseal(note, _NOTE))
    except VbmError:
        told = {"state": "", "until": 0}
    fits = hmac.compare_digest(told["state"].encode(), returned.state.encode())
    if not told["state"] or not fits or workspace.clock.now().timestamp() > told["until"]:
        raise sign_in.SignInError("the sign-in was not begun here, or took too long", hint="begin it again")
    if returned.error or not returned.code:
        raise sign_in.SignInError(
            "the identity provider did not sign you in", hint="try again, or ask who looks after it"
        )
    return Proof(told["state"], told["nonce"], told["verifier"]), told["target"]


def _existing(workspace: Workspace) -> OidcRecord:
    record = configured(workspace)
    if record is None:
        raise NotFoundError("no identity provider is set", hint="vbm oidc set --issuer https://…")
    return record


def _provider(workspace: Workspace, record: OidcRecord) -> Provider:
    secret = workspace.vault.unseal(record.sealed_secret, _SEALED_AS)
    client = Client(
        record.issuer, record.client_id, secret, record.url + BACK, _SCOPE, record.ca_file or True
    )
    return Provider(client, workspace.clock)


def _user(workspace: Workspace, record: OidcRecord, claims: Mapping[str, Any]) -> UserRecord:
    """Known by issuer and subject; made at the first sign-in. Raises IdentityRefusedError."""
    given = granted(record, claims)
    role = given.role
    subject = json.dumps([record.issuer, str(claims["sub"])])
    with workspace.catalog.writing() as session:
        known = find_subject(session, subject)
        if known is not None and known.disabled:
            raise IdentityRefusedError(f"the user {known.name} is disabled", hint="ask an administrator")
        if known is not None:
            scope = known.scope if given.scope is None else given.scope
            if (known.role, known.scope) != (role.value, scope):
                values = {"role": role.value, "scope": list(scope)}
                change_user(session, known.id, values)
                trail.note(workspace, session, "user.set-role", known.name, values | {"by": "oidc"})
            return replace(known, role=role.value, scope=scope)
        name = _name(claims)
        if find_user(session, name) is not None:
            raise IdentityRefusedError(
                f"there is another user named {name}",
                hint="an administrator renames or removes that one first: it is not taken over",
            )
        now = workspace.clock.now()
        scope = given.scope or ()
        made = UserRecord(new_id(now), name, role.value, now, source="oidc", scope=scope, subject=subject)
        insert_user(session, made)
        trail.note(workspace, session, "user.create", name, {"role": role.value, "by": "oidc"})
        return made


def _name(claims: Mapping[str, Any]) -> str:
    """For people to read; nothing is decided by it."""
    for claim in ("preferred_username", "email", "name", "sub"):
        given = claims.get(claim)
        if isinstance(given, str) and given.strip():
            try:
                return checked_name(given.strip())
            except InputError:
                continue
    raise IdentityRefusedError("the identity provider tells no name that can be shown")
