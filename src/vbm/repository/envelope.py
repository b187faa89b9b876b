"""Sealing: AES-256-GCM under keys derived from the repository's master key, or a checksum where it has none.

Each sealed thing has a random 16-byte salt of its own; the key is HKDF-SHA-256 over master key, purpose and
salt, so no nonce can repeat under one key. The associated data binds a thing to its place: an object moved to
another name, or a chunk under another id, does not open.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vbm.ids import ChunkId
from vbm.objectstore.base import Data
from vbm.repository.format import FormatError
from vbm.units import MIB

SALT_BYTES: Final = 16
TAG_BYTES: Final = 16
_MAGIC: Final = b"VBM1"
_SEALED: Final = 1
_PACKED: Final = 2
_LARGEST_OBJECT: Final = 256 * MIB
_ONCE: Final = bytes(12)


class Envelope:
    """Seals and opens with one repository's master key; ``None``: nothing is secret, all is checksummed.

    Thread-safe. A wrong key, a flipped bit and a swapped object all raise FormatError.
    """

    def __init__(self, master: bytes | None) -> None:
        self.encrypted = master is not None
        self._master = master or b""
        self._id_key = self._derive(b"vbm 1 chunk id", b"")
        self.chunk_id: Callable[[Data], ChunkId] = self._keyed_id if self.encrypted else _plain_id
        self.cipher = lru_cache(maxsize=256)(self._cipher)

    def _derive(self, purpose: bytes, salt: bytes) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=salt or None, info=purpose).derive(self._master)

    def _cipher(self, purpose: bytes, salt: bytes) -> AESGCM:
        return AESGCM(self._derive(purpose, salt))

    def _keyed_id(self, data: Data) -> ChunkId:
        return ChunkId(hmac.digest(self._id_key, data, "sha256"))

    def seal(self, key: str, data: Data) -> bytes:
        """An object's bytes: magic, flags, then salt and ciphertext, or a SHA-256 (of name and content) and it."""
        packed = zstandard.ZstdCompressor(level=3).compress(data)
        content: Data = packed if len(packed) < len(data) else data
        flags = (_SEALED if self.encrypted else 0) | (_PACKED if content is packed else 0)
        header = _MAGIC + bytes([flags])
        if not self.encrypted:
            return b"".join((header, _digest(header, key, content), content))
        salt = os.urandom(SALT_BYTES)
        return (
            header
            + salt
            + self.cipher(b"vbm 1 object", salt).encrypt(_ONCE, bytes(content), header + key.encode())
        )

    def open(self, key: str, stored: bytes) -> bytes:
        """What was sealed under that key. Raises FormatError."""
        if stored[:4] != _MAGIC or len(stored) < 5 or bool(stored[4] & _SEALED) != self.encrypted:
            raise FormatError(f"{key} is not an object of this repository", key=key)
        content = self._unsealed(key, stored) if self.encrypted else _checked(key, stored)
        return unpacked(key, content, _LARGEST_OBJECT) if stored[4] & _PACKED else content

    def _unsealed(self, key: str, stored: bytes) -> bytes:
        salt, body = stored[5 : 5 + SALT_BYTES], stored[5 + SALT_BYTES :]
        try:
            return self.cipher(b"vbm 1 object", salt).decrypt(_ONCE, body, stored[:5] + key.encode())
        except (InvalidTag, ValueError) as error:
            raise FormatError(f"{key} is damaged", key=key) from error


def _plain_id(data: Data) -> ChunkId:
    return ChunkId(hashlib.sha256(data).digest())


def _digest(header: bytes, key: str, content: Data) -> bytes:
    """Over flags and name too: what is moved or swapped is noticed without a key as well."""
    digest = hashlib.sha256(header + key.encode() + b"\0")
    digest.update(content)
    return digest.digest()


def _checked(key: str, stored: bytes) -> bytes:
    digest, content = stored[5:37], stored[37:]
    if _digest(stored[:5], key, content) != digest:
        raise FormatError(f"{key} is damaged", key=key)
    return content


def unpacked(name: str, data: Data, limit: int) -> bytes:
    """The content of one zstd frame that says its size, at most ``limit`` bytes. Raises FormatError."""
    try:
        size = zstandard.frame_content_size(bytes(data[:18]))
        if not 0 <= size <= limit:
            raise FormatError(f"{name} claims to hold {size} bytes", key=name)
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=limit)
    except zstandard.ZstdError as error:
        raise FormatError(f"{name} is damaged: {error}", key=name) from error
