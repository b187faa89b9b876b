"""Lists by cursor: opaque to who asks, good for the list and the filters that it came with and for no other."""

from __future__ import annotations

import base64
import binascii
import hashlib
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Query, Request

from vbm.errors import InputError

Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
Cursor = Annotated[
    str, Query(max_length=1500, description="`next_cursor` of the page before, with the same filters.")
]
Record = TypeVar("Record")
_MARK_BYTES: Final = 6


class WrongCursorError(InputError):
    """A cursor that no list gave, or another list, or this one with other filters."""

    code = "wrong-cursor"


@dataclass(frozen=True, slots=True)
class Paging:
    """``mark`` tells the list and its filters; ``after`` is where the last page ended, empty for the first."""

    limit: int
    mark: bytes
    after: str

    @property
    def number(self) -> int:
        """Where the last page ended, of a list by number. Raises WrongCursorError."""
        if self.after and not (self.after.isascii() and self.after.isdigit() and len(self.after) < 19):
            raise _wrong()
        return int(self.after or 0)

    def page(
        self,
        found: Sequence[Record],
        key: Callable[[Record], object],
        document: Callable[[Record], dict[str, Any]],
    ) -> dict[str, Any]:
        """A page of ``found``, which holds one more than ``limit`` where there is a next one."""
        shown = found[: self.limit]
        cursor = self._cursor(str(key(shown[-1]))) if len(found) > self.limit else None
        return {"items": [document(record) for record in shown], "next_cursor": cursor}

    def slice(
        self,
        found: Iterable[Record],
        key: Callable[[Record], str],
        document: Callable[[Record], dict[str, Any]],
        *,
        newest_first: bool = False,
    ) -> dict[str, Any]:
        """A page of all that there is; what goes or comes between two pages moves nothing else."""
        beyond = operator.lt if newest_first else operator.gt
        rest = [record for record in found if not self.after or beyond(key(record), self.after)]
        return self.page(sorted(rest, key=key, reverse=newest_first), key, document)

    def _cursor(self, last: str) -> str:
        return base64.urlsafe_b64encode(self.mark + last.encode()).decode().rstrip("=")


def by_name(name: str, record_id: str) -> str:
    """The key of lists by name."""
    return f"{name.casefold()}\0{record_id}"


def _paging(default: int) -> Callable[..., Paging]:
    def paging(request: Request, limit: Limit = default, cursor: Cursor = "") -> Paging:
        filters = sorted(
            (k, v) for k, v in request.query_params.multi_items() if k not in {"limit", "cursor"}
        )
        text = repr((request.url.path, filters))
        mark = hashlib.sha256(text.encode()).digest()[:_MARK_BYTES]
        return Paging(limit, mark, _after(cursor, mark))

    return paging


Pages = Annotated[Paging, Depends(_paging(100))]
LongPages = Annotated[Paging, Depends(_paging(1000))]


def _after(cursor: str, mark: bytes) -> str:
    if not cursor:
        return ""
    try:
        data = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), b"-_", validate=True)
        text = data.removeprefix(mark).decode()
    except (UnicodeError, binascii.Error, ValueError) as error:
        raise _wrong() from error
    if not data.startswith(mark) or not text:
        raise _wrong()
    return text


def _wrong() -> WrongCursorError:
    return WrongCursorError(
        "not a cursor of this list with these filters", hint="use next_cursor of the page before, unchanged"
    )
