"""One root for every error that people see: its kind decides the exit code, its code is stable.

Layers define their own classes next to the code that raises them. A class sets ``code`` (stable,
searchable, documented) and inherits ``kind``; a raise site gives the message (what, on what) and,
where there is something to do, ``hint``.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar


class Kind(Enum):
    """What sort of failure it is; the value is the exit code of the command line."""

    FAILED = 1
    INPUT = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    DAMAGED = 5
    CANCELLED = 130


class VbmError(Exception):
    """The root. ``permanent`` False means that the same call may succeed later, so it may be retried."""

    code: ClassVar[str] = "failed"
    kind: ClassVar[Kind] = Kind.FAILED
    permanent: ClassVar[bool] = True

    def __init__(self, message: str, *, hint: str = "", **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context = context

    @property
    def exit_code(self) -> int:
        return self.kind.value


class InputError(VbmError):
    """What was asked for can't be right, whatever the state of the world."""

    code = "invalid-input"
    kind = Kind.INPUT


class NotFoundError(VbmError):
    """A thing that was named does not exist."""

    code = "not-found"
    kind = Kind.NOT_FOUND


class NotAllowedError(VbmError):
    """Credentials, privileges or a key do not permit it."""

    code = "not-allowed"
    kind = Kind.NOT_ALLOWED


class DamagedError(VbmError):
    """Stored data is not what was stored."""

    code = "data-damaged"
    kind = Kind.DAMAGED


class CancelledError(VbmError):
    """Somebody asked to stop: Ctrl-C, SIGTERM, a cancel request, a deadline."""

    code = "cancelled"
    kind = Kind.CANCELLED


class TransientError(VbmError):
    """It may succeed when tried again: a reset connection, a busy server."""

    code = "transient"
    permanent = False
