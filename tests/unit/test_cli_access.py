"""Options that name a repository and its key: what contradicts itself is refused."""

from pathlib import Path

import pytest

from vbm.cli.access import given_key, where
from vbm.errors import InputError


def test_two_keys_for_one_repository_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        given_key("A", tmp_path / "b")


def test_a_name_and_an_address_contradict_each_other() -> None:
    with pytest.raises(InputError):
        where("main", "file:///x", None, None, None)


def test_a_key_without_an_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", "x")
    with pytest.raises(InputError):
        where(None, None, "PW", None, None)
