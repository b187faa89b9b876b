"""Packs: objects of sealed chunks, with a table by which an index can be rebuilt.

``header(40) chunk* table trailer(16)``; see docs/design/repository-format.md. A pack's name is the SHA-256 of its
bytes as stored. A chunk's nonce is its offset in the pack and its key comes from a salt stored before it, so one
ranged read is all that opening a chunk takes.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag

from vbm.ids import ChunkId, PackId, SessionId
from vbm.objectstore.base import Data, ObjectExistsError, ObjectStore
from vbm.objectstore.streaming import begin_upload
from vbm.repository.envelope import SALT_BYTES, Envelope, unpacked
from vbm.repository.format import LARGEST_CHUNK_BYTES, PACKS_PREFIX, FormatError, pack_key
from vbm.units import MIB

_HEADER: Final = struct.Struct("<4sBBH32s")  # magic, version, flags, reserved, session
_ENTRY: Final = struct.Struct("<32sIIB")  # chunk id, offset, stored length, flags
_TRAILER: Final = struct.Struct("<III4s")  # table offset, table length, entries, magic
_MAGIC: Final = b"VBMP"
_END: Final = b"PMBV"
_VERSION: Final = 1
_SEALED: Final = 1
PACKED: Final = 1
_PURPOSE: Final = b"vbm 1 pack"
_LARGEST_PACK: Final = 64 * MIB
_NAME: Final = re.compile("[0-9a-f]{64}")
HEADER_BYTES: Final = _HEADER.size


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk lies: ``length`` bytes as stored from ``offset`` of a pack, compressed or not."""

    pack: PackId
    offset: int
    length: int
    packed: bool


class PackWriter:
    """One pack in the making, streamed to the store. Not thread-safe. Ends with ``finish`` or ``abort``."""

    def __init__(self, store: ObjectStore, envelope: Envelope, session: SessionId) -> None:
        self._encrypted = envelope.encrypted
        self._salt = os.urandom(SALT_BYTES)
        self._cipher = envelope.cipher(_PURPOSE, self._salt) if envelope.encrypted else None
        self._digest = hashlib.sha256()
        self._upload = begin_upload(store)
        self._entries: list[tuple[ChunkId, int, int, int]] = []
        self.size = 0
        flags = _SEALED if envelope.encrypted else 0
        self._append(_HEADER.pack(_MAGIC, _VERSION, flags, 0, session.encode().ljust(32, b"\0")))

    def add(self, chunk: ChunkId, content: Data, packed: bool) -> int:
        """Append one chunk, compressed already or not; the bytes it takes. Raises the store's errors."""
        offset = self.size
        stored = self._sealed(offset, content, chunk)
        self._entries.append((chunk, offset, stored, PACKED if packed else 0))
        return stored

    def _sealed(self, offset: int, content: Data, bound_to: bytes) -> int:
        if self._cipher is None:
            return self._append(content)
        body = self._cipher.encrypt(offset.to_bytes(12, "big"), content, bound_to)
        return self._append(self._salt) + self._append(body)

    def _append(self, part: Data) -> int:
        self._digest.update(part)
        self._upload.write(part)
        self.size += len(part)
        return len(part)

    def finish(self) -> list[tuple[ChunkId, Place]]:
        """Write table and trailer; the pack is durable when this returns, with these chunks at these places."""
        table = b"".join(_ENTRY.pack(*entry) for entry in self._entries)
        if not self._encrypted:
            table = hashlib.sha256(table).digest() + table
        offset = self.size
        length = self._sealed(offset, table, b"table")
        self._append(_TRAILER.pack(offset, length, len(self._entries), _END))
        pack = PackId(self._digest.hexdigest())
        with suppress(ObjectExistsError):  # an equal pack is as good
            self._upload.commit(pack_key(pack))
        return [
            (chunk, Place(pack, start, stored, bool(flags & PACKED)))
            for chunk, start, stored, flags in self._entries
        ]

    def abort(self) -> None:
        """Nothing of the pack remains. May be called after ``finish``, which it does not undo."""
        self._upload.abort()


def open_chunk(envelope: Envelope, chunk: ChunkId, place: Place, stored: Data) -> bytes:
    """The chunk's bytes, checked against its id. Raises FormatError."""
    name = f"chunk {chunk.hex()[:16]} in pack {place.pack[:16]}"
    content = _unsealed(envelope, name, stored, place.offset, chunk)
    data = unpacked(name, content, LARGEST_CHUNK_BYTES) if place.packed else content
    if envelope.chunk_id(data) != chunk:
        raise FormatError(f"{name} does not have the bytes of its id", pack=place.pack)
    return data


def _unsealed(envelope: Envelope, name: str, stored: Data, offset: int, bound_to: bytes) -> bytes:
    if not envelope.encrypted:
        return bytes(stored)
    cipher = envelope.cipher(_PURPOSE, bytes(stored[:SALT_BYTES]))
    try:
        return cipher.decrypt(offset.to_bytes(12, "big"), memoryview(stored)[SALT_BYTES:], bound_to)
    except (InvalidTag, ValueError) as error:
        raise FormatError(f"{name} is damaged") from error


def list_packs(store: ObjectStore) -> Iterator[tuple[PackId, int]]:
    """Every pack of the store and its size, in no order. What has not the name of a pack is passed over."""
    for info in store.list(PACKS_PREFIX):
        name = info.key.rpartition("/")[2]
        if _NAME.fullmatch(name) and info.key == pack_key(PackId(name)):
            yield PackId(name), info.size_bytes


def read_header(store: ObjectStore, pack: PackId) -> SessionId:
    """The session that wrote the pack. Raises FormatError, ObjectMissingError."""
    magic, version, _, _, session = _HEADER.unpack(store.get_range(pack_key(pack), 0, HEADER_BYTES))
    if magic != _MAGIC or version != _VERSION:
        raise FormatError(f"{pack_key(pack)} is not a pack", pack=pack)
    return SessionId(session.rstrip(b"\0").decode("ascii", "replace"))


def read_table(store: ObjectStore, envelope: Envelope, pack: PackId) -> list[tuple[ChunkId, Place]]:
    """Every chunk of the pack, by two ranged reads. Raises FormatError, ObjectMissingError."""
    key = pack_key(pack)
    size = store.size(key)
    if not HEADER_BYTES + _TRAILER.size <= size <= _LARGEST_PACK:
        raise FormatError(f"{key} has {size} bytes", pack=pack)
    trailer = store.get_range(key, size - _TRAILER.size, _TRAILER.size)
    offset, length, count, end = _TRAILER.unpack(trailer)
    if end != _END or offset + length != size - _TRAILER.size or offset < HEADER_BYTES:
        raise FormatError(f"{key} has a damaged trailer", pack=pack)
    table = _unsealed(envelope, f"the table of {key}", store.get_range(key, offset, length), offset, b"table")
    if not envelope.encrypted:
        digest, table = table[:32], table[32:]
        if hashlib.sha256(table).digest() != digest:
            raise FormatError(f"{key} has a damaged table", pack=pack)
    if len(table) != count * _ENTRY.size:
        raise FormatError(f"{key} has a table of {len(table)} bytes for {count} chunks", pack=pack)
    return [
        (ChunkId(chunk), _checked(Place(pack, start, stored, bool(flags & PACKED)), offset))
        for chunk, start, stored, flags in _ENTRY.iter_unpack(table)
    ]


def _checked(place: Place, end: int) -> Place:
    if place.offset < HEADER_BYTES or place.offset + place.length > end:
        raise FormatError(f"a chunk lies outside of pack {place.pack[:16]}", pack=place.pack)
    return place


def read_chunks(
    envelope: Envelope, content: bytes, table: list[tuple[ChunkId, Place]]
) -> Iterator[tuple[ChunkId, bytes | FormatError]]:
    """Each chunk of a whole pack in memory, opened and checked; a damaged one yields its error."""
    for chunk, place in table:
        try:
            yield (
                chunk,
                open_chunk(envelope, chunk, place, content[place.offset : place.offset + place.length]),
            )
        except FormatError as error:
            yield chunk, error


def is_intact(pack: PackId, content: bytes) -> bool:
    """Whether these are the pack's bytes, by its name alone: no key is needed."""
    return hashlib.sha256(content).hexdigest() == pack
