"""Writing a restore point: chunks into packs, then index segments, disk maps and, last, the manifest.

Nothing written before the manifest is visible; whatever a crash leaves is collected later. Several writers, in
several processes and machines, work on one repository at once.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Self

import numpy as np
import zstandard

from vbm.clock import Clock
from vbm.errors import DamagedError, InputError, TransientError, VbmError
from vbm.ids import ZERO_CHUNK, ChunkId
from vbm.objectstore.base import Data, ObjectExistsError, ObjectStore
from vbm.repository.chunks import ChunkReader
from vbm.repository.damage import forget_damaged
from vbm.repository.disk_map import DiskMap, MapBuilder, SpooledMap
from vbm.repository.envelope import Envelope
from vbm.repository.format import MANIFEST_NAME, SAFE_SEGMENT, manifest_key, restore_point_prefix
from vbm.repository.index import ChunkIndex, Entry, write_segments
from vbm.repository.manifest import DiskEntry, FileEntry, Manifest, ManifestDraft
from vbm.repository.packer import Packer
from vbm.repository.reliance import Reliance
from vbm.repository.sessions import WriterSession

_INDEX_EVERY = 16384  # chunks between index segments, so that little is lost with a crash


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of one chunk. ``stored_bytes`` counts what it added to the repository."""

    id: ChunkId
    is_new: bool
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Parts:
    """The repository's parts that a writer works with."""

    store: ObjectStore
    envelope: Envelope
    index: ChunkIndex
    clock: Clock
    chunk_size_bytes: int
    level: int


class Writer:
    """One writer session. ``with`` it: leaving without ``commit`` aborts.

    ``put_chunk`` is called from any number of threads, which hash and compress side by side and fill one pack. A
    chunk that another thread is storing at this moment counts as stored: if that fails, so does the commit.
    """

    def __init__(self, parts: Parts, owner: str) -> None:
        self._parts = parts
        self._session = WriterSession(parts.store, parts.envelope, parts.clock, owner)
        try:
            self._reliance = Reliance(parts.store, parts.envelope, parts.index)
        except BaseException:
            self._session.end()
            raise
        self._packer = Packer(parts.store, parts.envelope, self._session.id, self._written)
        self._lock = threading.Lock()
        self._own: set[ChunkId] = set()  # stored by this session and not in the index yet
        self._pending: list[Entry] = []
        self._healed: set[ChunkId] = set()
        self._disks: list[tuple[DiskEntry, MapBuilder]] = []
        self._builders: list[MapBuilder] = []
        self._files: dict[str, bytes] = {}
        self._threads = threading.local()

    @property
    def session_id(self) -> str:
        return self._session.id

    # --- chunks

    def put_chunk(self, data: Data) -> Stored:
        """Store a chunk unless it is zeros or there already. ``data`` is not kept."""
        if is_zero(data):
            return Stored(ZERO_CHUNK, is_new=False, stored_bytes=0)
        chunk = self._parts.envelope.chunk_id(data)
        return self._put(chunk, data)

    def _put(self, chunk: ChunkId, data: Data) -> Stored:
        known = self._reliance.usable(chunk)
        if not known:
            with self._lock:  # once more: its pack may have been finished since
                known = chunk in self._own or self._reliance.usable(chunk)
                self._own.add(chunk)
        if known:
            return Stored(chunk, is_new=False, stored_bytes=0)
        return Stored(chunk, True, self._store(chunk, data))

    def store_again(self, chunk: ChunkId, data: Data) -> None:
        """Store a chunk though it is there: its pack is about to go. ``data`` was checked against the id."""
        self._store(chunk, data)

    def _store(self, chunk: ChunkId, data: Data) -> int:
        try:
            compressed = self._compressor().compress(data)
            packed = len(compressed) < len(data) * 97 // 100
            return self._packer.add(chunk, compressed if packed else data, packed)
        except BaseException:
            self._packer.fail()
            raise

    def _compressor(self) -> zstandard.ZstdCompressor:
        compressor: zstandard.ZstdCompressor | None = getattr(self._threads, "compressor", None)
        if compressor is None:
            compressor = self._threads.compressor = zstandard.ZstdCompressor(level=self._parts.level)
        return compressor

    def _written(self, entries: list[Entry]) -> None:
        """A pack is durable: what lies in it is known from now on."""
        self._parts.index.add(entries)
        stored = {chunk for chunk, _ in entries}
        healed = self._reliance.stored(stored, entries[0][1].pack)
        with self._lock:
            self._pending += entries
            self._healed |= healed
            self._own -= stored
            full = len(self._pending) >= _INDEX_EVERY
        if full:
            self._write_index()

    def _write_index(self) -> None:
        with self._lock:
            entries, self._pending = self._pending, []
        try:
            write_segments(self._parts.store, self._parts.envelope, entries)
        except BaseException:
            with self._lock:
                self._pending += entries
            raise

    def checkpoint(self) -> None:
        """Everything put so far is durable and indexed when this returns. Any thread may call it."""
        self._packer.flush()
        self._write_index()

    def adopt(self, ids: Iterable[ChunkId]) -> set[ChunkId]:
        """Of these, the chunks that the repository has and this session may rely on."""
        return {chunk for chunk in ids if self._reliance.usable(chunk)}

    # --- files and maps

    def new_map(self, capacity_bytes: int, base: DiskMap | None = None) -> MapBuilder:
        """An empty map of a disk, or one that shares what is not set with ``base``."""
        builder = MapBuilder(capacity_bytes, self._parts.chunk_size_bytes, base)
        self._builders.append(builder)
        return builder

    def put_file(self, path: str, data: bytes) -> None:
        """A small file of the restore point: VMX, NVRAM, descriptor. ``path`` must be one safe name."""
        if not SAFE_SEGMENT.fullmatch(path):
            raise InputError(f"not the name of a file of a restore point: {path[:80]!r}")
        if path in self._files:
            raise InputError(f"the restore point has a file {path} already")
        self._files[path] = data

    def put_map(self, disk: DiskEntry, map_: MapBuilder) -> None:
        """A disk of the restore point; the map is complete. Its path must be one safe name."""
        taken = {MANIFEST_NAME, *(entry.path for entry, _ in self._disks)}
        if not SAFE_SEGMENT.fullmatch(disk.path) or disk.path in taken:
            raise InputError(f"not the name of a disk of this restore point: {disk.path[:80]!r}")
        self._disks.append((disk, map_))

    # --- commit

    def commit(self, draft: ManifestDraft) -> Manifest:
        """Make the restore point exist; on any error it does not.

        Raises ChunksLostError where a map names a chunk that is nowhere, ChunksNotStoredError, SessionLostError,
        ObjectExistsError where the restore point exists.
        """
        key = manifest_key(draft.vm_instance_uuid, draft.restore_point_id)
        prefix = restore_point_prefix(draft.vm_instance_uuid, draft.restore_point_id)
        self.checkpoint()
        files = [self._write_file(prefix, path, data) for path, data in sorted(self._files.items())]
        files += [self._write_map(prefix, disk, builder) for disk, builder in self._disks]
        self._settle()
        values = {field.name: getattr(draft, field.name) for field in fields(ManifestDraft)}
        manifest = Manifest(**values, files=tuple(files))
        stored = manifest.to_json()
        sealed = self._parts.envelope.seal(key, stored) if self._parts.envelope.encrypted else stored
        self._session.check()
        self._parts.store.put(key, [sealed])
        self._take_back_if_lost(key)
        with suppress(VbmError):  # the restore point exists: what is left to do is tidying
            forget_damaged(self._parts.store, self._healed)
        self._end()
        return manifest

    def _take_back_if_lost(self, key: str) -> None:
        """A process that stood still for hours before that put may have been taken for dead, and what it relies on
        for garbage: then the restore point must not be. Raises SessionLostError."""
        with suppress(TransientError):
            if not self._session.alive():
                self._parts.store.delete(key)
                self._session.check()

    def check_session(self) -> None:
        """Raises SessionLostError where others took this session for dead."""
        self._session.check()

    def _settle(self) -> None:
        """Rescue what is condemned by now, then hold every chunk of every map against the packs that are there."""
        doubtful = self._reliance.look_for_condemned()
        self._reliance.look_for_packs()
        if doubtful and self._rescue():
            self._reliance.look_for_packs()
        for disk, builder in self._disks:
            self._reliance.require(builder, disk.label or disk.path)

    def _rescue(self) -> bool:
        """Store again what the maps name and only condemned packs hold; whether anything was."""
        chunks = ChunkReader(self._parts.store, self._parts.envelope, self._parts.index)
        rescued = False
        for _, builder in self._disks:
            for _, chunk in self._reliance.unusable_of(builder):
                with suppress(DamagedError):  # it is missed below, where the disk is named
                    self._put(chunk, chunks.read(chunk))
                    rescued = True
        self.checkpoint()
        return rescued

    def _write_file(self, prefix: str, path: str, data: bytes) -> FileEntry:
        key = f"{prefix}files/{path}"
        sealed = self._parts.envelope.seal(key, data)
        try:
            self._parts.store.put(key, [sealed])
        except ObjectExistsError:
            # What a crash left of a restore point that was not committed. It stays for garbage collection, which may
            # be removing it at this moment: it can't be relied on.
            name = f"{secrets.token_hex(8)}.file"
            key = f"{prefix}files/{name}"
            self._parts.store.put(key, [self._parts.envelope.seal(key, data)])
            return FileEntry(path, len(data), hashlib.sha256(data).hexdigest(), stored_as=name)
        return FileEntry(path, len(data), hashlib.sha256(data).hexdigest())

    def _write_map(self, prefix: str, disk: DiskEntry, builder: MapBuilder) -> FileEntry:
        path = disk.path
        try:
            size, digest = self._spool_map(f"{prefix}{path}", builder)
        except ObjectExistsError:  # likewise; whose it is is not known, so it stays
            path = f"{path.removesuffix('.map')}-{secrets.token_hex(4)}.map"
            size, digest = self._spool_map(f"{prefix}{path}", builder)
        return FileEntry(
            path=path,
            size_bytes=size,
            disk_key=disk.disk_key,
            disk_uuid=disk.disk_uuid,
            capacity_bytes=disk.capacity_bytes,
            change_id=disk.change_id,
            map_sha256=digest,
            label=disk.label,
            read_mode=disk.read_mode,
        )

    def _spool_map(self, key: str, builder: MapBuilder) -> tuple[int, str]:
        spooled = SpooledMap(builder, self._parts.envelope, key)
        try:
            self._parts.store.put(key, spooled)
        finally:
            spooled.close()
        return spooled.size_bytes, spooled.sha256

    def abort(self) -> None:
        """Give up: nothing becomes visible. What was stored stays until it is collected or met again."""
        self._end()

    def _end(self) -> None:
        self._packer.abort()
        for builder in self._builders:
            builder.close()
        self._session.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


def is_zero(data: Data) -> bool:
    """Whether all bytes are zero: numpy looks at 26 GB/s, where comparing memoryviews makes half of one."""
    return not np.frombuffer(data, dtype=np.uint64 if len(data) % 8 == 0 else np.uint8).any()
