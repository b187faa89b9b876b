"""The second factor: time-based codes (RFC 6238) and recovery codes, each good for one use."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

import pyotp

from vbm.catalog.users import UserRecord, change_user, user_by_name
from vbm.errors import InputError
from vbm.security.tokens import kept
from vbm.services import identity, trail
from vbm.services.workspace import Workspace

_STEP_SECONDS: Final = 30
_RECOVERY_CODES: Final = 10


class WrongCodeError(InputError):
    """The code does not belong to the secret."""

    code = "wrong-code"


@dataclass(frozen=True, slots=True)
class Offer:
    """A secret that is not in force yet, and the address that apps read from a QR code."""

    secret: str
    address: str


def offer(user: UserRecord) -> Offer:
    secret = pyotp.random_base32()
    return Offer(
        secret, pyotp.TOTP(secret).provisioning_uri(name=user.name, issuer_name="vSphere Backup Manager")
    )


def enable(workspace: Workspace, user_id: str, secret: str, code: str) -> tuple[str, ...]:
    """Take the secret into use once a code proves that an app has it; the recovery codes, shown once."""
    step = _step_of(workspace, secret, code)
    if step is None:
        raise WrongCodeError("the code does not fit", hint="is the clock of the phone right?")
    codes = tuple(f"{secrets.token_hex(4)}-{secrets.token_hex(4)}" for _ in range(_RECOVERY_CODES))
    with workspace.catalog.writing() as session:
        record = user_by_name(session, user_id)
        values = {
            "sealed_totp": workspace.vault.seal(secret, _context(record.id)),
            "recovery_hashes": [kept(recovery) for recovery in codes],
            "totp_step": step,
        }
        change_user(session, record.id, values)
        trail.note(workspace, session, "user.second-factor.enable", record.name)
    return codes


def disable(workspace: Workspace, user_id: str) -> None:
    """Sign in with the password alone again."""
    with workspace.catalog.writing() as session:
        record = user_by_name(session, user_id)
        change_user(session, record.id, {"sealed_totp": "", "recovery_hashes": [], "totp_step": 0})
        trail.note(workspace, session, "user.second-factor.disable", record.name)


def accept(workspace: Workspace, user: UserRecord, code: str) -> bool:
    """Whether the code is good, and use it up: a code or recovery code works once."""
    given = code.strip().replace(" ", "")
    secret = workspace.vault.unseal(user.sealed_totp, _context(user.id))
    step = _step_of(workspace, secret, given)
    with workspace.catalog.writing() as session:
        now = user_by_name(session, user.id)
        if step is not None and step > now.totp_step:
            change_user(session, user.id, {"totp_step": step})
            return True
        if kept(given) in now.recovery_hashes:
            left = [hashed for hashed in now.recovery_hashes if hashed != kept(given)]
            change_user(session, user.id, {"recovery_hashes": left})
            with identity.acting(identity.Identity(user.name, None)):
                trail.note(
                    workspace, session, "user.second-factor.recovery-code", user.name, {"left": len(left)}
                )
            return True
    return False


def _step_of(workspace: Workspace, secret: str, code: str) -> int | None:
    """The time step that the code belongs to: this one, the last or the next."""
    if not (code.isascii() and code.isdigit() and len(code) == 6):
        return None
    totp = pyotp.TOTP(secret)
    now = int(workspace.clock.now().timestamp()) // _STEP_SECONDS
    for step in (now, now - 1, now + 1):
        if secrets.compare_digest(totp.at(step * _STEP_SECONDS), code):
            return step
    return None


def _context(user_id: str) -> str:
    return f"user/{user_id}/totp"
