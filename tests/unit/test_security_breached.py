"""The list of passwords known from breaches: found wherever they stand in it, refused, and never skipped in silence."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from vbm.errors import InputError
from vbm.security import breached
from vbm.security.passwords import WeakPasswordError, check_rules

KNOWN = [f"a known password {number}" for number in range(300)]


def digest(password: str) -> str:
    return hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest()


def listed(path: Path, passwords: list[str], *, end: str = "\r\n", upper: bool = True) -> Path:
    lines = sorted(digest(one).upper() if upper else digest(one) for one in passwords)
    text = end.join(f"{line}:{10 ** (number % 9)}" if upper else line for number, line in enumerate(lines))
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("upper", [True, False])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("count", [1, 2, 3, 300])
def test_each_of_the_list_is_found_and_no_other(tmp_path: Path, count: int, end: str, upper: bool) -> None:
    path = listed(tmp_path / "known", KNOWN[:count], end=end, upper=upper)
    for ending in ("", end):
        path.write_bytes(path.read_bytes() + ending.encode())
        assert all(breached.holds(path, one) for one in KNOWN[:count])
        assert not any(breached.holds(path, f"another {one}") for one in KNOWN)


def test_a_known_password_is_refused_however_long_it_is(tmp_path: Path) -> None:
    environment = {breached.VARIABLE: str(listed(tmp_path / "known", KNOWN))}
    with pytest.raises(WeakPasswordError, match="known from a breach"):
        check_rules(KNOWN[7], "anna", environment)
    check_rules("one that nobody has ever used", "anna", environment)
    check_rules(KNOWN[7], "anna", {})


@pytest.mark.parametrize(
    "content", [None, b"no list at all\n", b"abc:1\n", b"Z" * 40 + b"\n", b"\0" * 100_000]
)
def test_a_list_that_is_none_lets_no_password_through(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "known"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=breached.VARIABLE):
        check_rules("one that nobody has ever used", "anna", {breached.VARIABLE: str(path)})


def test_an_empty_list_knows_none(tmp_path: Path) -> None:
    (tmp_path / "known").touch()
    assert not breached.holds(tmp_path / "known", KNOWN[0])
