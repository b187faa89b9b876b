"""Copies of the catalog in a repository: whole or not there, the last ones kept, each installation's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vbm.ids import new_id
from vbm.objectstore.faulty import Crashed, FaultyStore
from vbm.objectstore.local import LocalStore
from vbm.repository.catalog_copies import COPIES_PREFIX, KEPT, copies, read_copy, write_copy
from vbm.repository.envelope import Envelope
from vbm.repository.format import FormatError

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> FaultyStore:
    return FaultyStore(LocalStore(tmp_path / "store"))


@pytest.fixture(params=[bytes(32), None], ids=["encrypted", "plain"])
def envelope(request: pytest.FixtureRequest) -> Envelope:
    return Envelope(request.param)


def database(tmp_path: Path, size: int = 20 << 20) -> Path:
    path = tmp_path / "source.db"
    path.write_bytes((b"a row; " * (size // 7 + 1))[:size])
    return path


def copy_id(day: int, installation: str = "aa") -> str:
    return f"{installation}-{new_id(START + timedelta(days=day))}"


def test_what_was_copied_comes_back(store: FaultyStore, envelope: Envelope, tmp_path: Path) -> None:
    source = database(tmp_path)
    assert write_copy(store, envelope, copy_id(0), source) == 20 << 20
    (known,) = copies(store)
    assert read_copy(store, envelope, known, tmp_path / "back.db") == 20 << 20
    assert (tmp_path / "back.db").read_bytes() == source.read_bytes()


def test_a_copy_that_was_cut_short_is_none_and_goes_with_the_next(
    store: FaultyStore, envelope: Envelope, tmp_path: Path
) -> None:
    source = database(tmp_path)
    for number in ("0", "2", "end"):
        store.on("put", f"{COPIES_PREFIX}*/{number}").once().crash()
        with pytest.raises(Crashed):
            write_copy(store, envelope, copy_id(0), source)
        store.revive()
        store.clear()
        assert copies(store) == []
    write_copy(store, envelope, copy_id(1), source)
    assert len(list(store.list(COPIES_PREFIX))) == 4


def test_the_last_ones_of_each_installation_are_kept(
    store: FaultyStore, envelope: Envelope, tmp_path: Path
) -> None:
    source = database(tmp_path, 100)
    write_copy(store, envelope, copy_id(0, "bb"), source)
    made = [copy_id(day) for day in range(KEPT + 3)]
    for name in made:
        write_copy(store, envelope, name, source)
    assert [name for name in copies(store) if name.startswith("aa-")] == made[-KEPT:]
    assert len([name for name in copies(store) if name.startswith("bb-")]) == 1


@pytest.mark.parametrize("fate", ["flip", "swap", "lose"])
def test_damage_is_found(store: FaultyStore, envelope: Envelope, tmp_path: Path, fate: str) -> None:
    source = database(tmp_path)
    name = copy_id(0)
    write_copy(store, envelope, name, source)
    first, second = (tmp_path / "store" / COPIES_PREFIX / name / n for n in "01")
    if fate == "flip":
        data = bytearray(first.read_bytes())
        data[len(data) // 2] ^= 1
        first.chmod(0o600)
        first.write_bytes(data)
    elif fate == "swap":
        second.rename(first)
    else:
        first.unlink()
    with pytest.raises(FormatError):
        read_copy(store, envelope, name, tmp_path / "back.db")
