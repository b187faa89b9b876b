"""No key and no link leads a local store out of its folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vbm.errors import InputError, VbmError
from vbm.objectstore.base import ObjectMissingError
from vbm.objectstore.keys import check_key
from vbm.objectstore.local import LocalStore


@given(st.text(st.sampled_from("a./\\\0 -_~%é\n"), max_size=12))
def test_every_key_that_is_accepted_lies_below_the_root(key: str) -> None:
    root = Path("/srv/store")
    try:
        check_key(key)
    except InputError:
        return
    path = (root / key).resolve()
    assert path.is_relative_to(root)
    assert path != root
    assert str(path) == f"{root}/{key}"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    secret = tmp_path / "outside"
    secret.mkdir()
    (secret / "secret").write_bytes(b"secret")
    return secret


@pytest.fixture
def store(tmp_path: Path, outside: Path) -> LocalStore:
    made = LocalStore(tmp_path / "store")
    made.put("good", [b"x"])
    (made.root / "link").symlink_to(outside / "secret")
    (made.root / "folder").symlink_to(outside)
    return made


def test_links_are_no_objects(store: LocalStore, outside: Path) -> None:
    assert [info.key for info in store.list()] == ["good"]
    for read in (store.get, store.size, lambda key: store.get_range(key, 0, 1)):
        with pytest.raises(ObjectMissingError):
            read("link")
    with pytest.raises(VbmError):
        store.put("link", [b"overwritten"])
    store.delete("link")
    assert (outside / "secret").read_bytes() == b"secret"
    assert not (store.root / "link").is_symlink()


def test_devices_and_pipes_are_no_objects(store: LocalStore) -> None:
    import os

    os.mkfifo(store.root / "pipe")
    assert "pipe" not in {info.key for info in store.list()}
    with pytest.raises(ObjectMissingError):
        store.size("pipe")
