"""``ETag`` and ``If-Match``: a change is made to what was read, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated, Final, TypeVar

from fastapi import Header

from vbm.errors import NotAllowedError

Record = TypeVar("Record")
_WHAT: Final = "The `ETag` of what was read, or `*` for whatever it is now."
IfMatch = Annotated[str, Header(alias="If-Match", max_length=1000, description=_WHAT)]


class ChangedMeanwhileError(NotAllowedError):
    """Somebody else changed it since it was read."""

    code = "changed-meanwhile"


class PreconditionMissingError(NotAllowedError):
    """A change must say to what it is made."""

    code = "precondition-missing"


def tag(*parts: object) -> str:
    """Another one whenever a part is another."""
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def unless_changed(
    given: str, tag_of: Callable[[Record], str], *, needed: bool = True
) -> Callable[[Record], None]:
    """For a service to call with the record as it is, in the transaction that changes it."""

    def check(record: Record) -> None:
        if not given and needed:
            raise PreconditionMissingError(
                "If-Match is missing", hint="send the ETag of what you have read, or * to overwrite"
            )
        wanted = {part.strip() for part in given.split(",")}
        if given and "*" not in wanted and tag_of(record) not in wanted:
            raise ChangedMeanwhileError(
                "it was changed meanwhile", hint="read it again and repeat the change"
            )

    return check
