"""Lists by cursor: a cursor is opaque to who asks, and names where the last page ended."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query

from vbm.errors import InputError

Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
Cursor = Annotated[str, Query(max_length=400, description="`next_cursor` of the page before.")]
Record = TypeVar("Record")


def after(cursor: str) -> str:
    """Where the last page ended. Raises InputError."""
    try:
        return base64.urlsafe_b64decode(cursor.encode("ascii") + b"==").decode()
    except (UnicodeError, binascii.Error, ValueError) as error:
        raise InputError("not a cursor", hint="use next_cursor of the page before, unchanged") from error


def page(
    found: Sequence[Record],
    limit: int,
    key: Callable[[Record], object],
    document: Callable[[Record], dict[str, Any]],
) -> dict[str, Any]:
    """A page of ``found``, which holds one more than ``limit`` where there is a next one."""
    shown = found[:limit]
    cursor = None
    if len(found) > limit:
        cursor = base64.urlsafe_b64encode(str(key(shown[-1])).encode()).decode().rstrip("=")
    return {"items": [document(record) for record in shown], "next_cursor": cursor}
