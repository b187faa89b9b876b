"""Every store keeps every promise of the contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vbm.objectstore.base import ObjectStore
from vbm.objectstore.contract import PROMISES, Promise
from vbm.objectstore.faulty import FaultyStore
from vbm.objectstore.local import LocalStore
from vbm.objectstore.registry import open_store

STORES: dict[str, Callable[[Path], ObjectStore]] = {
    "local": LocalStore,
    "by-url": lambda path: open_store(path.as_uri()),
    "faulty-without-faults": lambda path: FaultyStore(LocalStore(path)),
}


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("kind", STORES)
def test_the_store_keeps_its_promise(kind: str, promise: Promise, tmp_path: Path) -> None:
    store = STORES[kind](tmp_path / "store")
    store.put("other/object", [b"not of this check"])
    promise(store)
    store.close()
    store.close()
    assert store.get("other/object") == b"not of this check"
