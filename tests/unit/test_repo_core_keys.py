"""Key slots: each opens the same repository; adding and revoking; what is altered opens nothing."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from fixtures_repo_core import CHUNK, KEY, back_up, files_of, new_repository, noise, read_back
from vbm.errors import InputError, NotFoundError
from vbm.objectstore.local import LocalStore
from vbm.repository.format import FormatError, NewerFormatError, NotARepositoryError, RepositoryOptions
from vbm.repository.keys import KeyFile, NoKey, Passphrase, RecoveryKey, WrongKeyError, new_recovery_key
from vbm.repository.repository import Repository


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def _rewrite(path: Path, **changes: Any) -> None:
    document = json.loads(path.read_bytes())
    for name, value in changes.items():
        document[name] = value
    path.write_text(json.dumps(document))


def test_every_kind_of_key_opens_the_same_repository(store: LocalStore) -> None:
    repo = new_repository(store, Passphrase("correct horse"))
    recovery = new_recovery_key()
    repo.add_key(recovery, label="safe")
    repo.add_key(KEY, label="host")
    back_up(repo, "rp-1", noise(1, 2))
    for key in (Passphrase("correct horse"), recovery, KEY):
        assert read_back(Repository.open(store, key), "rp-1") == noise(1, 2)
    slots = repo.key_slots()  # those made in one millisecond in any order
    assert {(slot.kind, slot.label) for slot in slots} == {
        ("passphrase", "first"),
        ("recovery", "safe"),
        ("key-file", "host"),
    }
    assert [slot.created for slot in slots] == sorted(slot.created for slot in slots)


@pytest.mark.parametrize(
    "key", [Passphrase("Correct horse"), Passphrase("correct horse "), KeyFile(b"x" * 32), new_recovery_key()]
)
def test_a_wrong_key_opens_nothing(store: LocalStore, key: Passphrase | KeyFile | RecoveryKey) -> None:
    new_repository(store, Passphrase("correct horse"))
    with pytest.raises(WrongKeyError) as caught:
        Repository.open(store, key)
    assert caught.value.hint


def test_no_key_does_not_open_an_encrypted_one_and_a_key_no_plain_one(
    store: LocalStore, tmp_path: Path
) -> None:
    new_repository(store, KEY)
    with pytest.raises(WrongKeyError, match="is encrypted"):
        Repository.open(store, NoKey())
    plain = LocalStore(tmp_path / "plain")
    repo = new_repository(plain, NoKey())
    with pytest.raises(WrongKeyError, match="not encrypted"):
        Repository.open(plain, KEY)
    with pytest.raises(InputError):
        repo.add_key(KEY)


def test_a_recovery_key_is_read_as_people_write_it_and_a_typo_is_said_to_be_one(store: LocalStore) -> None:
    recovery = new_recovery_key()
    groups = recovery.text.split("-")
    assert [len(group) for group in groups] == [4] * 13
    new_repository(store, recovery)
    written = recovery.text.lower().replace("-", " ").replace("o", "0").replace("i", "1")
    assert Repository.open(store, RecoveryKey(f"  {written}\n")).config.encrypted
    wrong = "A" if recovery.text[7] != "A" else "B"
    typos = [
        recovery.text[:7] + wrong + recovery.text[8:],
        recovery.text[:-5],
        recovery.text + "AAAA",
        recovery.text.replace("-", "") + "é",
        "",
        "-",
    ]
    for typo in typos:
        with pytest.raises(InputError, match="mistyped"):
            Repository.open(store, RecoveryKey(typo))


def test_two_recovery_keys_differ() -> None:
    assert len({new_recovery_key().text for _ in range(50)}) == 50


@pytest.mark.parametrize(
    ("key", "message"), [(Passphrase(""), "empty"), (KeyFile(b"short"), "holds 5 bytes")]
)
def test_a_key_that_protects_nothing_is_refused(
    store: LocalStore, key: Passphrase | KeyFile, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        new_repository(store, key)
    assert list(store.list()) == []


def test_a_revoked_slot_opens_no_more_and_the_last_stays(store: LocalStore) -> None:
    repo = new_repository(store, KEY)
    other = KeyFile(b"other key of this repository")
    slot = repo.add_key(other)
    repo.revoke_key(repo.key_slots()[0].id if repo.key_slots()[0].id != slot.id else repo.key_slots()[1].id)
    with pytest.raises(WrongKeyError):
        Repository.open(store, KEY)
    assert Repository.open(store, other).id == repo.id
    with pytest.raises(InputError, match="last"):
        repo.revoke_key(slot.id)
    with pytest.raises(NotFoundError) as caught:
        repo.revoke_key("no-such")
    assert slot.id in caught.value.hint


def test_adding_and_revoking_rewrites_no_data(store: LocalStore) -> None:
    repo = new_repository(store, KEY)
    back_up(repo, "rp-1", noise(1, 2))
    before = {path: path.read_bytes() for path in files_of(store) if path.parent.name != "keys"}
    slot = repo.add_key(Passphrase("x"))
    repo.revoke_key(slot.id)
    assert {path: path.read_bytes() for path in files_of(store) if path.parent.name != "keys"} == before


@pytest.mark.parametrize(
    "changes", [{"compression": "archive"}, {"chunk_size_bytes": 2 * CHUNK}, {"repository_id": "0" * 32}]
)
def test_an_altered_config_opens_with_no_key(store: LocalStore, changes: dict[str, Any]) -> None:
    new_repository(store, KEY)
    _rewrite(store.root / "config", **changes)
    with pytest.raises(WrongKeyError):
        Repository.open(store, KEY)


def test_a_config_turned_to_plain_does_not_make_an_encrypted_repository_readable(store: LocalStore) -> None:
    repo = new_repository(store, KEY)
    back_up(repo, "rp-1", noise(1, 2))
    _rewrite(store.root / "config", encryption="none")
    with pytest.raises(WrongKeyError):
        Repository.open(store, KEY)
    assert list(Repository.open(store, NoKey()).restore_points()) == []


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format": 1}',
        b"\xff\xfe",
        b'{"format": "one"}',
        (
            b'{"format": 1, "repository_id": "a", "chunk_size_bytes": 5, "compression": "default",'
            b' "encryption": "none", "created": "2026-01-01T00:00:00Z"}'
        ),
    ],
)
def test_a_damaged_config_is_said_to_be_damaged(store: LocalStore, config: bytes) -> None:
    store.put("config", [config])
    with pytest.raises(FormatError):
        Repository.open(store, KEY)


def test_a_newer_format_is_refused_and_nothing_is_no_repository(store: LocalStore) -> None:
    with pytest.raises(NotARepositoryError):
        Repository.open(store, KEY)
    store.put("config", [b'{"format": 2}'])
    with pytest.raises(NewerFormatError):
        Repository.open(store, KEY)


def test_a_repository_is_not_made_over_another(store: LocalStore) -> None:
    repo = new_repository(store, KEY)
    with pytest.raises(InputError, match="already"):
        new_repository(store, Passphrase("x"))
    assert Repository.open(store, KEY).id == repo.id
    assert len(repo.key_slots()) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"id": "a"}', b"null", b"[" * 60_000, b" " * 70_000])
def test_a_damaged_slot_keeps_no_other_from_opening(store: LocalStore, content: bytes) -> None:
    repo = new_repository(store, KEY)
    store.put("keys/0000000000000000", [content])
    assert Repository.open(store, KEY).id == repo.id
    assert len(repo.key_slots()) == 1


def test_a_slot_that_asks_for_absurd_work_or_was_altered_is_passed_over(store: LocalStore) -> None:
    repo = new_repository(store, KEY)
    honest = json.loads(files_of(store, "keys/")[0].read_bytes())
    kdf = {"salt": base64.b64encode(bytes(16)).decode(), "iterations": 3, "lanes": 4, "memory_kib": 65536}
    costs = [
        {"memory_kib": 1 << 40},
        {"iterations": 1 << 30},
        {"lanes": 1 << 20},
        {"memory_kib": 0},
        {"iterations": "many"},
        {"salt": "?"},
    ]
    for number, cost in enumerate(costs):
        slot = {"id": f"{number:016x}", "kind": "passphrase", "kdf": kdf | cost}
        store.put(f"keys/{number:016x}", [json.dumps(honest | slot).encode()])
    with pytest.raises(WrongKeyError):
        Repository.open(store, Passphrase("anything"))
    assert Repository.open(store, KEY).id == repo.id


def test_a_slot_under_another_name_or_kind_is_none(store: LocalStore) -> None:
    new_repository(store, KEY)
    [slot] = files_of(store, "keys/")
    document = json.loads(slot.read_bytes())
    slot.unlink()
    store.put("keys/ffffffffffffffff", [json.dumps(document).encode()])
    with pytest.raises(WrongKeyError):
        Repository.open(store, KEY)
    renamed = document | {"id": "eeeeeeeeeeeeeeee"}
    store.put("keys/eeeeeeeeeeeeeeee", [json.dumps(renamed).encode()])
    with pytest.raises(WrongKeyError):
        Repository.open(store, KEY)


def test_secrets_are_not_shown(store: LocalStore) -> None:
    for key in (Passphrase("hunter2"), KeyFile(b"hunter2" * 5), RecoveryKey("hunter2")):
        assert "hunter2" not in repr(key)
    new_repository(store, KEY)
    with pytest.raises(WrongKeyError) as caught:
        Repository.open(store, Passphrase("hunter2"))
    assert "hunter2" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("size", [0, 1000, 128 * 1024, 3 * CHUNK, 8 * 1024 * 1024])
def test_a_chunk_size_that_is_not_possible_is_refused(size: int) -> None:
    with pytest.raises(InputError):
        RepositoryOptions(size)
