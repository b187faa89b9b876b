"""Chunks and packs found damaged: recorded, so that the next backup that meets them stores them again.

Nobody relies anew on anything in a *bad* pack, one that holds damage somewhere; what is good in it is still read.
Garbage collection copies that and drops the pack, and only then the record.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from vbm.ids import ChunkId, PackId
from vbm.objectstore.base import ObjectExistsError, ObjectStore

DAMAGED_PREFIX: Final = "damaged/"
BAD_PACKS_PREFIX: Final = "damaged/pack-"


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


def record_bad_packs(store: ObjectStore, packs: Iterable[PackId]) -> None:
    """Durable when this returns. A pack recorded already stays recorded."""
    for pack in packs:
        with suppress(ObjectExistsError):
            store.put(f"{BAD_PACKS_PREFIX}{pack}", [b"damaged"])


def bad_packs(store: ObjectStore) -> frozenset[PackId]:
    return frozenset(PackId(info.key.removeprefix(BAD_PACKS_PREFIX)) for info in store.list(BAD_PACKS_PREFIX))


def forget_bad_packs(store: ObjectStore, packs: Iterable[PackId]) -> None:
    """They are gone from the store."""
    for pack in packs:
        store.delete(f"{BAD_PACKS_PREFIX}{pack}")
