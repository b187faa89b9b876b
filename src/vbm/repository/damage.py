"""Chunks found damaged or missing: recorded by verify, so that the next backup that meets them stores them again."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from vbm.ids import ChunkId
from vbm.objectstore.base import ObjectExistsError, ObjectStore

DAMAGED_PREFIX: Final = "damaged/"


def record_damaged(store: ObjectStore, chunks: Iterable[ChunkId]) -> None:
    """Durable when this returns. A chunk recorded already stays recorded."""
    for chunk in chunks:
        with suppress(ObjectExistsError):
            store.put(f"{DAMAGED_PREFIX}{chunk.hex()}", [b"damaged"])


def damaged_chunks(store: ObjectStore) -> set[ChunkId]:
    found = set()
    for info in store.list(DAMAGED_PREFIX):
        with suppress(ValueError):
            found.add(ChunkId(bytes.fromhex(info.key.removeprefix(DAMAGED_PREFIX))))
    return found


def forget_damaged(store: ObjectStore, chunks: Iterable[ChunkId]) -> None:
    """They were stored again, or nothing needs them any more."""
    for chunk in chunks:
        store.delete(f"{DAMAGED_PREFIX}{chunk.hex()}")
