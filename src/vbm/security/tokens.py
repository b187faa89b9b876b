"""Secrets that the product gives out itself: session cookies and API keys. Only their hashes are kept.

They are random and long, so that one SHA-256 is enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

API_KEY_PREFIX: Final = "vbm_"


def new_token() -> str:
    """256 random bits, safe in a cookie and a header."""
    return secrets.token_urlsafe(32)


def new_api_key() -> str:
    return API_KEY_PREFIX + new_token()


def kept(token: str) -> str:
    """What is stored of it."""
    return hashlib.sha256(token.encode()).hexdigest()
