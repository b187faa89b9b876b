"""Objects written piece by piece, of a name not known beforehand, whatever the store can do.

A store that can take pieces as they come has ``begin_upload``, as a local folder does; for any other the pieces
wait in memory until the object is put in one go.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from vbm.objectstore.base import Data, ObjectStore


class Upload(Protocol):
    """One object in the making; one thread at a time. Ends with ``commit`` or ``abort``."""

    def write(self, data: Data) -> None:
        """Append; the caller may reuse the buffer afterwards. Raises StoreFullError, TransientError."""

    def commit(self, key: str) -> None:
        """The same promises and errors as ``ObjectStore.put``. On an error nothing remains."""

    def abort(self) -> None:
        """Nothing remains. May be called at any time, also after ``commit``."""


@runtime_checkable
class StreamingStore(Protocol):
    """A store with a way of its own to take pieces."""

    def begin_upload(self) -> Upload: ...


def begin_upload(store: ObjectStore) -> Upload:
    """An upload into the store. Nothing is visible, or counted as stored, before its ``commit``."""
    return store.begin_upload() if isinstance(store, StreamingStore) else _Collected(store)


class _Collected:
    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._parts: list[bytes] = []

    def write(self, data: Data) -> None:
        self._parts.append(bytes(data))

    def commit(self, key: str) -> None:
        parts, self._parts = self._parts, []
        self._store.put(key, parts)

    def abort(self) -> None:
        self._parts = []
