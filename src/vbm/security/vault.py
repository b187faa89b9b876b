"""Secrets are sealed with AES-256-GCM under one master key, so that the database holds none in clear.

The key is ``VBM_HOME/master.key`` (made at the first use, readable by its owner alone) or the
environment variable ``VBM_MASTER_KEY`` (32 bytes in base64 or hex), which wins. A sealed text names
its key, so that a wrong one is told apart from damage, and is bound to a context such as
``vcenter/<id>/password``: a value copied into another row does not open.

Form: ``v1.<key id>.<base64url of nonce, ciphertext, tag>``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vbm.errors import DamagedError, InputError, NotAllowedError

KEY_VARIABLE: Final = "VBM_MASTER_KEY"
KEY_FILE: Final = "master.key"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_FORM: Final = "v1"


class MasterKeyError(NotAllowedError):
    """The master key is missing, readable by others, or another one than sealed the secret."""

    code = "master-key"


class SealBrokenError(DamagedError):
    """A sealed secret is damaged, or was sealed for another purpose."""

    code = "seal-broken"


class Vault:
    """Seals and opens secrets. Thread-safe; ``repr`` shows no key."""

    def __init__(self, key: bytes, source: str) -> None:
        self._cipher = AESGCM(key)
        self._source = source
        self.key_id = hashlib.sha256(b"vbm master key id\0" + key).hexdigest()[:12]

    def __repr__(self) -> str:
        return f"Vault({self.key_id} from {self._source})"

    @classmethod
    def open(cls, home: Path, environment: Mapping[str, str] = os.environ) -> Vault:
        """The vault of that home; its key file is made where there is none. Raises MasterKeyError."""
        given = environment.get(KEY_VARIABLE, "").strip()
        if given:
            return cls(_decoded(given, KEY_VARIABLE), KEY_VARIABLE)
        path = home / KEY_FILE
        return cls(_read_or_create(path), str(path))

    def seal(self, secret: str, context: str) -> str:
        """The secret, sealed for this context alone."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, secret.encode(), context.encode())
        return f"{_FORM}.{self.key_id}.{base64.urlsafe_b64encode(sealed).decode()}"

    def unseal(self, sealed: str, context: str) -> str:
        """The secret. Raises MasterKeyError for another key, SealBrokenError for anything else."""
        form, _, rest = sealed.partition(".")
        key_id, _, body = rest.partition(".")
        if form != _FORM or not body:
            raise SealBrokenError(f"the sealed secret of {context} is not in a form that this program knows")
        if key_id != self.key_id:
            raise MasterKeyError(
                f"the secret of {context} was sealed with master key {key_id}, "
                f"but {self._source} is key {self.key_id}",
                hint=f"bring back the {KEY_FILE} or {KEY_VARIABLE} of then, or enter the secret again",
            )
        return self._opened(body, context)

    def _opened(self, body: str, context: str) -> str:
        try:
            raw = base64.urlsafe_b64decode(body.encode())
            return self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], context.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise SealBrokenError(
                f"the sealed secret of {context} is damaged or belongs to something else",
                hint="enter the secret again: remove and add the vCenter or repository entry",
            ) from error


def _decoded(text: str, source: str) -> bytes:
    """32 bytes from hex or base64 (either alphabet, padded or not)."""
    for decode in (bytes.fromhex, _base64):
        try:
            key = decode(text)
        except ValueError:
            continue
        if len(key) == _KEY_BYTES:
            return key
    raise InputError(
        f"{source} is not a key of {_KEY_BYTES} bytes in base64 or hex",
        hint="make one with: head -c 32 /dev/urandom | base64",
    )


def _base64(text: str) -> bytes:
    standard = text.replace("-", "+").replace("_", "/").rstrip("=")
    return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)


def _read_or_create(path: Path) -> bytes:
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(path)
        return _read(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise MasterKeyError(
                f"the master key {path} can be read by others (mode {mode:04o})",
                hint=f"run: chmod 600 {path}",
            )
        return _decoded(file.read(4096).decode("ascii", "replace").strip(), str(path))


def _create(path: Path) -> None:
    """Write a new key whole and durable under a name of its own, then give it its name if that is free.

    Two processes may do so at once: one of them wins, and both then read the winner's key.
    """
    staged = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(_KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(staged, path)
        except FileExistsError:
            pass
    finally:
        staged.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unreadable(path: Path, error: OSError) -> MasterKeyError:
    return MasterKeyError(
        f"the master key {path} can't be used: {error.strerror}",
        hint=f"make the folder writable for this user, or set VBM_HOME or {KEY_VARIABLE}",
    )
