"""Which names an object may have: the same rule for every store."""

from __future__ import annotations

import re
from typing import Final

from vbm.errors import InputError

_SEGMENT: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,200}")
_LONGEST: Final = 512


def check_key(key: str) -> str:
    """The key, if it is one: ``/``-separated segments, none of them empty, ``.`` or ``..``. Raises InputError."""
    if len(key) > _LONGEST or not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise InputError(f"not an object key: {key[:80]!r}")
    return key
