"""The vault: keys that are private, seals that open for their own purpose alone."""

import base64
import multiprocessing
import os
import secrets
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vbm.errors import InputError
from vbm.security.vault import MasterKeyError, SealBrokenError, Vault

SECRET = "pässwörd '\" %s\n"


@given(secret=st.text(), context=st.text(min_size=1))
@settings(max_examples=50)
def test_what_is_sealed_opens_and_shows_nothing(secret: str, context: str) -> None:
    vault = Vault(b"k" * 32, "test")
    sealed = vault.seal(secret, context)
    assert vault.unseal(sealed, context) == secret
    assert sealed != vault.seal(secret, context)


def test_a_first_use_makes_a_private_key_that_stays(tmp_path: Path) -> None:
    home = tmp_path / "home"
    sealed = Vault.open(home, {}).seal(SECRET, "a")
    path = home / "master.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    assert len(base64.b64decode(path.read_text())) == 32
    assert Vault.open(home, {}).unseal(sealed, "a") == SECRET
    assert [p.name for p in home.iterdir()] == ["master.key"]


def _key_id(home: Path) -> str:
    return Vault.open(home, {}).key_id


def test_first_uses_at_once_agree_on_one_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert len(set(pool.map(_key_id, [tmp_path / "home"] * 6))) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o660])
def test_a_key_that_others_could_read_or_change_is_refused_with_the_cure(tmp_path: Path, mode: int) -> None:
    Vault.open(tmp_path, {})
    (tmp_path / "master.key").chmod(mode)
    with pytest.raises(MasterKeyError) as caught:
        Vault.open(tmp_path, {})
    assert caught.value.hint == f"run: chmod 600 {tmp_path}/master.key"
    (tmp_path / "master.key").chmod(0o600)
    Vault.open(tmp_path, {})


def test_a_secret_does_not_open_in_another_place(tmp_path: Path) -> None:
    vault = Vault.open(tmp_path, {})
    with pytest.raises(SealBrokenError):
        vault.unseal(vault.seal(SECRET, "vcenter/1/password"), "vcenter/2/password")


def test_another_key_is_named(tmp_path: Path) -> None:
    sealed = Vault.open(tmp_path / "a", {}).seal(SECRET, "x")
    other = Vault.open(tmp_path / "b", {})
    with pytest.raises(MasterKeyError) as caught:
        other.unseal(sealed, "x")
    assert other.key_id in caught.value.message
    assert sealed.split(".")[1] in caught.value.message


@pytest.mark.parametrize("harm", ["", "v1", "v2.aa.bb", "plain password", "flip", "cut"])
def test_damage_is_told_apart(tmp_path: Path, harm: str) -> None:
    vault = Vault.open(tmp_path, {})
    sealed = vault.seal(SECRET, "x")
    broken = {"flip": sealed[:-6] + ("A" if sealed[-6] != "A" else "B") + sealed[-5:], "cut": sealed[:-8]}
    with pytest.raises(SealBrokenError):
        vault.unseal(broken.get(harm, harm), "x")


@pytest.mark.parametrize(
    "encode",
    [
        bytes.hex,
        lambda b: base64.b64encode(b).decode(),
        lambda b: base64.urlsafe_b64encode(b).decode().rstrip("="),
    ],
)
def test_the_environment_may_bring_the_key(tmp_path: Path, encode) -> None:
    key = secrets.token_bytes(32)
    vault = Vault.open(tmp_path, {"VBM_MASTER_KEY": encode(key)})
    assert vault.key_id == Vault(key, "").key_id
    assert not (tmp_path / "master.key").exists()


@pytest.mark.parametrize("bad", ["short", "zz" * 32, base64.b64encode(b"x" * 31).decode()])
def test_a_wrong_key_in_the_environment_is_refused_unshown(tmp_path: Path, bad: str) -> None:
    with pytest.raises(InputError) as caught:
        Vault.open(tmp_path, {"VBM_MASTER_KEY": bad})
    assert bad not in caught.value.message + caught.value.hint


def test_a_home_that_can_not_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MasterKeyError) as caught:
        Vault.open(tmp_path / "file" / "home", {})
    assert "VBM_HOME" in caught.value.hint


def test_a_vault_shows_no_key() -> None:
    assert os.fsencode("k" * 32) not in repr(Vault(b"k" * 32, "test")).encode()
