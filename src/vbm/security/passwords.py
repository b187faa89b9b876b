"""Passwords of local users: bcrypt over SHA-256, so that neither length nor zero bytes shorten them.

Source: bcrypt takes 72 bytes and stops at a zero byte; hashing first and encoding as base64 removes both limits.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import bcrypt

from vbm.errors import InputError
from vbm.security import breached

SHORTEST: Final = 12
_LONGEST: Final = 1024
_ROUNDS: Final = 12
_OFTEN_USED: Final = frozenset(
    {"password1234", "123456789012", "qwertyuiop12", "administrator", "vmwarevmware", "passwordpassword"}
)


class WeakPasswordError(InputError):
    """The password breaks a rule."""

    code = "weak-password"


def check_rules(password: str, username: str, environment: Mapping[str, str] = os.environ) -> None:
    """Raises WeakPasswordError. Length counts, not kinds of characters (NIST SP 800-63B).

    ``VBM_BREACHED_PASSWORDS`` names a list of known ones; one that can't be read raises InputError.
    """
    hint = f"use {SHORTEST} characters or more; several words are easy to remember"
    if len(password) < SHORTEST:
        raise WeakPasswordError(f"the password has fewer than {SHORTEST} characters", hint=hint)
    if len(password) > _LONGEST:
        raise WeakPasswordError(f"the password has more than {_LONGEST} characters", hint=hint)
    plain = password.casefold()
    if plain in _OFTEN_USED or len(set(plain)) < 4 or (username and username.casefold() in plain):
        raise WeakPasswordError("the password is easy to guess", hint=hint)
    known = environment.get(breached.VARIABLE, "").strip()
    if known and breached.holds(Path(known), password):
        raise WeakPasswordError(
            "the password is known from a breach", hint="use one that is used nowhere else"
        )


def hash_password(password: str) -> str:
    """A salted hash to keep; a quarter of a second on purpose."""
    return bcrypt.hashpw(_prepared(password), bcrypt.gensalt(_ROUNDS)).decode()


def matches(password: str, kept: str) -> bool:
    """Whether the password is the one of that hash. An empty ``kept`` takes as long and matches nothing."""
    return bcrypt.checkpw(_prepared(password), (kept or _NOBODY).encode()) and bool(kept)


def _prepared(password: str) -> bytes:
    return base64.b64encode(hashlib.sha256(password.encode()).digest())


# What an unknown user's password is compared with, so that an answer takes as long as for a known one.
_NOBODY: Final = "$2b$12$C6UzMDM.H6dfI/f/IKcEeO4kYQ0sCBoKIYgAxhW4dNPfTnT9VQH7a"
