"""The contract of an object store: immutable named objects, created once, never overwritten.

Every implementation runs ``contract.py``. Keys are ``/``-separated relative paths of
``[A-Za-z0-9._-]`` segments, none of them ``.`` or ``..``; anything else raises InputError.

Promises:

- *put-if-absent*: of several writers of one key, exactly one succeeds; the others get ObjectExistsError.
- *atomic*: a reader sees the whole object or none, whatever dies in between.
- *durable*: when ``put`` returns, the object survives a power loss.
- *read-your-writes*: after ``put`` returns, ``get``, ``size`` and ``list`` of any process see it.

All methods are thread-safe. A failure that may pass raises TransientError (or a subclass); a full
store raises StoreFullError and leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from vbm.errors import NotFoundError, VbmError

Data = bytes | bytearray | memoryview


class ObjectExistsError(VbmError):
    """The key is taken: somebody else created it first, or it was there all the time."""

    code = "object-exists"


class ObjectMissingError(NotFoundError):
    """There is no object of that key."""

    code = "object-missing"


class StoreFullError(VbmError):
    """No space left, or a quota is reached. Nothing of the object remains."""

    code = "store-full"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    key: str
    size_bytes: int
    modified: datetime  # by the store's own clock; never used to decide what may be deleted


@dataclass(frozen=True, slots=True)
class Space:
    """``volume``: equal for stores that share this space; empty where nobody can tell."""

    total_bytes: int
    free_bytes: int
    volume: str = ""


class ObjectStore(Protocol):
    url: str  # without credentials

    def put(self, key: str, parts: Sequence[Data]) -> None:
        """Create the object as the concatenation of ``parts``. Raises ObjectExistsError, StoreFullError."""

    def get(self, key: str) -> bytes:
        """The whole object. Raises ObjectMissingError."""

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``. ObjectMissingError; DamagedError where it is shorter."""

    def size(self, key: str) -> int:
        """The object's size in bytes. Raises ObjectMissingError."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object whose key starts with ``prefix``, in no order, streamed."""

    def delete(self, key: str) -> None:
        """The object is gone afterwards, whether it was there or not."""

    def space(self) -> Space | None:
        """Total and free bytes, or None where the store has no such notion."""

    def close(self) -> None:
        """Release connections. May be called twice."""
