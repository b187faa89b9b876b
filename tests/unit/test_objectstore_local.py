"""The local store beyond the contract: temporary files, open files, addresses."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from vbm.clock import SystemClock, VirtualClock
from vbm.errors import DamagedError, InputError
from vbm.objectstore.base import ObjectMissingError
from vbm.objectstore.local import LocalStore
from vbm.objectstore.registry import open_store


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def test_a_store_that_is_not_there_is_empty(store: LocalStore) -> None:
    assert list(store.list()) == []
    with pytest.raises(ObjectMissingError):
        store.get("config")
    store.delete("config")
    assert not store.root.exists()


def test_an_object_is_a_file_of_its_name_that_only_its_owner_reads(store: LocalStore) -> None:
    store.put("a/b", [b"x"])
    file = store.root / "a/b"
    assert file.read_bytes() == b"x"
    assert file.stat().st_mode & 0o077 == 0
    assert file.stat().st_nlink == 1
    assert [path.name for path in store.root.rglob("*")] == ["a", "b"]


def test_unfinished_uploads_are_neither_listed_nor_nameable_and_swept_after_a_day(store: LocalStore) -> None:
    store.put("a/b", [b"x"])
    upload = store.begin_upload()
    upload.write(b"half")
    temporary = [path.name for path in store.root.glob(".tmp-*")]
    assert len(temporary) == 1
    assert [info.key for info in store.list()] == ["a/b"]
    with pytest.raises(InputError):
        store.get(temporary[0])
    assert store.sweep() == 0
    assert store.sweep(VirtualClock(SystemClock().now() + timedelta(days=2))) == 1
    assert [info.key for info in store.list()] == ["a/b"]
    upload.abort()


def test_a_file_that_another_process_replaced_is_read_anew(store: LocalStore) -> None:
    store.put("a", [b"old"])
    assert store.get_range("a", 0, 3) == b"old"
    LocalStore(store.root).delete("a")
    with pytest.raises(ObjectMissingError):
        store.get_range("a", 0, 3)
    LocalStore(store.root).put("a", [b"new"])
    assert store.get_range("a", 0, 3) == b"new"


def test_a_file_cut_short_is_damage_not_short_data(store: LocalStore) -> None:
    store.put("a", [b"0123456789"])
    with (store.root / "a").open("r+b") as file:
        file.truncate(5)
    with pytest.raises(DamagedError):
        store.get_range("a", 0, 10)


def test_more_objects_are_read_than_files_are_kept_open(store: LocalStore) -> None:
    for number in range(150):
        store.put(f"n/{number}", [str(number).encode()])
    for _ in range(2):
        assert all(store.get_range(f"n/{n}", 0, 1) == str(n)[:1].encode() for n in range(150))


def test_an_object_below_an_object_is_refused(store: LocalStore) -> None:
    store.put("a", [b"x"])
    with pytest.raises(InputError):
        store.put("a/b", [b"y"])
    assert [info.key for info in store.list()] == ["a"]


@pytest.mark.parametrize(
    "url", ["s3://bucket", "/plain/path", "file://host/path", "file:relative", "file:///", ""]
)
def test_what_is_no_address_of_a_store_is_refused(url: str) -> None:
    with pytest.raises(InputError) as caught:
        open_store(url)
    assert caught.value.hint


def test_an_address_may_hold_spaces(tmp_path: Path) -> None:
    store = open_store((tmp_path / "with space").as_uri())
    store.put("a", [b"x"])
    assert (tmp_path / "with space/a").read_bytes() == b"x"
