"""A file of SHA-1 hashes of passwords that are known from breaches, looked up without being read whole.

Lines are upper or lower case hexadecimal, in order, with or without ``:COUNT``, as the lists that are published.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO, Final

from vbm.errors import InputError

_DIGITS: Final = 40  # of SHA-1
_LINE: Final = 200  # bytes; no line of a list is longer
VARIABLE: Final = "VBM_BREACHED_PASSWORDS"


def holds(path: Path, password: str) -> bool:
    """Whether the password is in the list. Raises InputError for a file that can't be read or is no such list."""
    wanted = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper().encode()
    try:
        with path.open("rb") as file:
            return _found(file, wanted)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{VARIABLE}: {path} can't be used: {error}",
            hint="it has one SHA-1 hash a line, in order",
        ) from error


def _found(file: BinaryIO, wanted: bytes) -> bool:
    """Bisects by bytes: the first line that begins at ``low`` or later is the candidate in the end."""
    low, high = 0, file.seek(0, os.SEEK_END)
    while low < high:
        middle = (low + high) // 2
        found = _line_after(file, middle)
        if found and found < wanted:
            low = middle + 1
        else:
            high = middle
    return _line_after(file, low) == wanted


def _line_after(file: BinaryIO, offset: int) -> bytes:
    """The hash of the first line that begins at ``offset`` or later; empty: there is none."""
    file.seek(max(offset - 1, 0))
    if offset:
        file.readline(_LINE)
    line = file.readline(_LINE).strip()
    if not line:
        return b""
    digest = line.partition(b":")[0].strip().upper()
    if len(digest) != _DIGITS or int(digest, 16) < 0:
        raise ValueError("a line is no SHA-1 hash")
    return digest
