"""The master key and its slots: passphrase, key file or recovery key, each wraps the same key.

A slot is an object ``keys/<id>``; adding or revoking one rewrites no data. The wrapping binds the slot to the
repository's config: a config that somebody altered opens with no key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vbm.clock import rfc3339
from vbm.errors import InputError, NotAllowedError, NotFoundError
from vbm.objectstore.base import ObjectMissingError, ObjectStore
from vbm.repository.format import FormatError

KEYS_PREFIX: Final = "keys/"
MASTER_BYTES: Final = 32
_ARGON: Final = {"iterations": 3, "lanes": 4, "memory_kib": 64 * 1024}  # RFC 9106, second recommended option
_ARGON_CEILING: Final = {"iterations": 16, "lanes": 16, "memory_kib": 1024 * 1024}
_SMALLEST_KEY_FILE: Final = 16
_LARGEST_SLOT: Final = 64 * 1024


class WrongKeyError(NotAllowedError):
    """No slot of the repository opens with this key."""

    code = "wrong-key"


@dataclass(frozen=True, slots=True)
class Passphrase:
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyFile:
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RecoveryKey:
    """Printed once when made: 13 groups of four letters and digits, the last four of them a checksum."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NoKey:
    """The repository is not encrypted."""


KeySource = Passphrase | KeyFile | RecoveryKey | NoKey


@dataclass(frozen=True, slots=True)
class KeySlot:
    """What a listing shows of a slot."""

    id: str
    kind: str  # passphrase, key-file, recovery
    label: str
    created: str


def kind_of(source: KeySource) -> str:
    return {Passphrase: "passphrase", KeyFile: "key-file", RecoveryKey: "recovery", NoKey: "none"}[
        type(source)
    ]


def new_recovery_key() -> RecoveryKey:
    """240 random bits and a 20-bit checksum in Crockford-like base 32, for paper."""
    secret = secrets.token_bytes(30)
    text = base64.b32encode(secret).decode() + _checksum(secret)
    return RecoveryKey("-".join(text[first : first + 4] for first in range(0, len(text), 4)))


def _checksum(secret: bytes) -> str:
    return base64.b32encode(hashlib.sha256(secret).digest()).decode()[:4]


def _recovery_secret(text: str) -> bytes:
    letters = text.upper().replace("-", "").replace(" ", "").replace("0", "O").replace("1", "I").strip()
    try:
        secret = base64.b32decode(letters[:-4])
    except ValueError:
        secret = b""
    if len(secret) != 30 or letters[-4:] != _checksum(secret):
        raise InputError(
            "not a recovery key, or one mistyped", hint="it has 13 groups of four letters and digits"
        )
    return secret


def _wrapping_key(source: KeySource, kdf: dict[str, Any]) -> bytes:
    salt = base64.b64decode(kdf["salt"])
    match source:
        case Passphrase(text):
            cost = {name: int(kdf[name]) for name in _ARGON}
            if any(not 0 < cost[name] <= ceiling for name, ceiling in _ARGON_CEILING.items()):
                raise FormatError("a key slot asks for an absurd amount of work")
            return Argon2id(
                salt=salt,
                length=32,
                iterations=cost["iterations"],
                lanes=cost["lanes"],
                memory_cost=cost["memory_kib"],
            ).derive(text.encode())
        case KeyFile(content):
            secret = content
        case RecoveryKey(text):
            secret = _recovery_secret(text)
        case NoKey():
            raise InputError("a key is needed", hint="give a passphrase or a key file")
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"vbm 1 key slot").derive(secret)


def check_source(source: KeySource) -> None:
    """Raises InputError for a key that would protect nothing."""
    if isinstance(source, Passphrase) and not source.text:
        raise InputError(
            "the passphrase is empty", hint="set one, or say that the repository is not encrypted"
        )
    if isinstance(source, KeyFile) and len(source.content) < _SMALLEST_KEY_FILE:
        raise InputError(
            f"the key file holds {len(source.content)} bytes",
            hint="make one with: head -c 32 /dev/urandom > repository.key",
        )


def add_slot(
    store: ObjectStore, config: bytes, master: bytes, source: KeySource, *, label: str, now: datetime
) -> KeySlot:
    """Wrap the master key once more. The slot is durable when this returns."""
    check_source(source)
    slot_id = secrets.token_hex(8)
    kdf = {
        "salt": base64.b64encode(os.urandom(16)).decode(),
        **(_ARGON if isinstance(source, Passphrase) else {}),
    }
    slot = KeySlot(slot_id, kind_of(source), label, rfc3339(now))
    nonce = os.urandom(12)
    sealed = AESGCM(_wrapping_key(source, kdf)).encrypt(nonce, master, _bound_to(config, slot_id, slot.kind))
    document = {
        "id": slot.id,
        "kind": slot.kind,
        "label": slot.label,
        "created": slot.created,
        "kdf": kdf,
        "wrapped": base64.b64encode(nonce + sealed).decode(),
    }
    store.put(f"{KEYS_PREFIX}{slot_id}", [json.dumps(document, indent=1).encode()])
    return slot


def _bound_to(config: bytes, slot_id: str, kind: str) -> bytes:
    return hashlib.sha256(config).digest() + f"{slot_id} {kind}".encode()


def _documents(store: ObjectStore) -> list[dict[str, Any]]:
    documents = []
    for info in store.list(KEYS_PREFIX):
        if info.size_bytes > _LARGEST_SLOT:
            continue
        try:
            document = json.loads(store.get(info.key))
            slot = KeySlot(*(str(document[name]) for name in ("id", "kind", "label", "created")))
        except (ValueError, KeyError, TypeError, RecursionError, ObjectMissingError):
            continue  # a damaged slot must not keep the others from opening
        if info.key == f"{KEYS_PREFIX}{slot.id}":
            documents.append(document)
    return documents


def list_slots(store: ObjectStore) -> list[KeySlot]:
    """Every readable slot, oldest first."""
    names = ("id", "kind", "label", "created")
    slots = [KeySlot(*(str(document[name]) for name in names)) for document in _documents(store)]
    return sorted(slots, key=lambda slot: (slot.created, slot.id))


def unlock(store: ObjectStore, config: bytes, source: KeySource) -> bytes:
    """The master key, by whichever slot of that kind opens. Raises WrongKeyError."""
    for document in _documents(store):
        if document["kind"] != kind_of(source):
            continue
        try:
            wrapped = base64.b64decode(document["wrapped"])
            wrapping = AESGCM(_wrapping_key(source, document["kdf"]))
            return wrapping.decrypt(
                wrapped[:12], wrapped[12:], _bound_to(config, document["id"], document["kind"])
            )
        except (InvalidTag, FormatError, KeyError, TypeError, ValueError):
            continue
    raise WrongKeyError(
        f"{store.url}: no key slot opens with this {kind_of(source)}",
        hint="check the passphrase or key file; a recovery key opens it too",
    )


def revoke_slot(store: ObjectStore, slot_id: str) -> None:
    """Remove a slot, but never the last. Raises NotFoundError, InputError."""
    slots = list_slots(store)
    if slot_id not in {slot.id for slot in slots}:
        raise NotFoundError(
            f"no key slot {slot_id!r}", hint=f"there are: {', '.join(slot.id for slot in slots)}"
        )
    if len(slots) == 1:
        raise InputError("the last key slot can't be revoked", hint="add another first")
    store.delete(f"{KEYS_PREFIX}{slot_id}")
