"""The store that fails when told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from vbm.errors import DamagedError, TransientError
from vbm.objectstore.base import ObjectExistsError, ObjectMissingError, StoreFullError
from vbm.objectstore.faulty import Crashed, FaultyStore
from vbm.objectstore.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> FaultyStore:
    return FaultyStore(LocalStore(tmp_path))


def test_without_rules_it_is_the_store_inside(store: FaultyStore) -> None:
    store.put("a/b", [b"one", b"two"])
    assert store.get("a/b") == b"onetwo"
    assert store.get_range("a/b", 3, 3) == b"two"
    assert store.size("a/b") == 6
    assert [info.key for info in store.list("a/")] == ["a/b"]
    store.delete("a/b")
    assert store.keys_of("delete") == ["a/b"]


def test_a_rule_holds_for_its_calls_alone(store: FaultyStore) -> None:
    rule = store.on("put", "packs/*").skip(1).once().fail()
    store.put("packs/1", [b""])
    store.put("index/1", [b""])
    with pytest.raises(TransientError):
        store.put("packs/2", [b""])
    store.put("packs/2", [b""])
    assert rule.hits == 1


def test_a_lost_answer_leaves_the_effect(store: FaultyStore) -> None:
    store.on("put").once().fail_after()
    with pytest.raises(TransientError):
        store.put("a", [b"x"])
    with pytest.raises(ObjectExistsError):
        store.put("a", [b"x"])


def test_full_leaves_nothing(store: FaultyStore) -> None:
    store.on("put").full()
    with pytest.raises(StoreFullError):
        store.put("a", [b"x"])
    with pytest.raises(ObjectMissingError):
        store.get("a")


def test_what_is_read_is_cut_short_or_altered(store: FaultyStore) -> None:
    store.put("a", [b"abcd"])
    store.on("get").once().short(2)
    store.on("get").once().flip(1)
    store.on("get_range").once().short()
    store.on("list").once().short()
    store.on("put", "torn").short(1)
    assert store.get("a") == b"ab"
    assert store.get("a") == b"accd"
    with pytest.raises(DamagedError):
        store.get_range("a", 0, 4)
    assert list(store.list()) == []
    store.put("torn", [b"ab", b"c"])
    assert store.inner.get("torn") == b"ab"


def test_another_party_acts_at_that_moment(store: FaultyStore) -> None:
    store.on("put", "a").once().call(lambda: store.put("b", [b""])).after(lambda: store.delete("b"))
    store.put("a", [b""])
    assert store.keys_of("put") == ["a", "b"]
    assert [info.key for info in store.list()] == ["a"]


def test_after_a_crash_nothing_works_until_it_is_revived(store: FaultyStore) -> None:
    store.on("put|delete", "a").crash_after()
    with pytest.raises(Crashed):
        store.put("a", [b"x"])
    with pytest.raises(Crashed):
        store.get("a")
    store.clear()
    store.revive()
    assert store.get("a") == b"x"
