"""Pinned restore points: kept whatever retention says, until somebody unpins them."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from vbm.ids import RestorePointId
from vbm.objectstore.base import ObjectExistsError, ObjectStore
from vbm.repository.format import SAFE_SEGMENT

PINS_PREFIX: Final = "pinned/"


def pin(store: ObjectStore, restore_point: RestorePointId) -> None:
    """Durable when this returns; pinning twice is fine."""
    with suppress(ObjectExistsError):
        store.put(f"{PINS_PREFIX}{restore_point}", [b"pinned"])


def unpin(store: ObjectStore, restore_point: RestorePointId) -> None:
    store.delete(f"{PINS_PREFIX}{restore_point}")


def pinned(store: ObjectStore) -> frozenset[RestorePointId]:
    names = (info.key.removeprefix(PINS_PREFIX) for info in store.list(PINS_PREFIX))
    return frozenset(RestorePointId(name) for name in names if SAFE_SEGMENT.fullmatch(name))
