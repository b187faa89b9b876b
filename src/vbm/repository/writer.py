"""Writing a restore point: chunks into packs, then index segments, disk maps and, last, the manifest.

Nothing written before the manifest is visible; whatever a crash leaves is collected later. Several writers, in
several processes and machines, work on one repository at once.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Self

import numpy as np
import zstandard

from vbm.clock import Clock
from vbm.errors import InputError
from vbm.ids import ZERO_CHUNK, ChunkId, PackId
from vbm.objectstore.base import Data, ObjectExistsError, ObjectStore
from vbm.repository.chunks import ChunkReader
from vbm.repository.condemned import condemned_packs, read_condemned
from vbm.repository.damage import damaged_chunks, forget_damaged
from vbm.repository.disk_map import ID_BYTES, SEGMENT_BYTES, DiskMap, MapBuilder, SpooledMap
from vbm.repository.envelope import Envelope
from vbm.repository.format import PACK_BYTES, manifest_key, pack_key, restore_point_prefix
from vbm.repository.index import ChunkIndex, Entry, write_segments
from vbm.repository.manifest import DiskEntry, FileEntry, Manifest, ManifestDraft
from vbm.repository.pack import PACKED, PackBuilder, Place
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
        self._damaged = damaged_chunks(parts.store)
        condemned = condemned_packs(read_condemned(parts.store, parts.envelope))
        self._absent = condemned | self._missing_packs()  # in this order: a pack goes before its record does
        self._lock = threading.Lock()
        self._own: set[ChunkId] = set()  # stored by this session and not in the index yet
        self._pack = self._new_pack()
        self._pack_lock = threading.Lock()
        self._closing = threading.Lock()
        self._pending: list[Entry] = []
        self._healed: set[ChunkId] = set()
        self._disks: list[tuple[DiskEntry, MapBuilder]] = []
        self._builders: list[MapBuilder] = []
        self._files: dict[str, bytes] = {}
        self._threads = threading.local()
        self._failed = False

    @property
    def session_id(self) -> str:
        return self._session.id

    def _missing_packs(self) -> set[PackId]:
        there = {info.key.rpartition("/")[2] for info in self._parts.store.list("packs/")}
        return {pack for pack in self._parts.index.packs() if pack not in there}

    def _usable(self, chunk: ChunkId) -> bool:
        """Whether a restore point may rely on the chunk: it lies in a pack that is there and will stay."""
        if chunk == ZERO_CHUNK:
            return True
        places = self._parts.index.places(chunk)
        return chunk not in self._damaged and any(place.pack not in self._absent for place in places)

    # --- chunks

    def put_chunk(self, data: Data) -> Stored:
        """Store a chunk unless it is zeros or there already. ``data`` is not kept."""
        if is_zero(data):
            return Stored(ZERO_CHUNK, is_new=False, stored_bytes=0)
        chunk = self._parts.envelope.chunk_id(data)
        return self._put(chunk, data)

    def _put(self, chunk: ChunkId, data: Data) -> Stored:
        with self._lock:
            if chunk in self._own or self._usable(chunk):
                return Stored(chunk, is_new=False, stored_bytes=0)
            self._own.add(chunk)
        try:
            return Stored(chunk, is_new=True, stored_bytes=self._store(chunk, data))
        except BaseException:
            self._failed = True
            raise

    def _store(self, chunk: ChunkId, data: Data) -> int:
        compressed = self._compressor().compress(data)
        packed = len(compressed) < len(data) * 97 // 100
        with self._pack_lock:
            stored = self._pack.add(chunk, compressed if packed else bytes(data), packed)
            full = self._take_pack() if self._pack.size >= PACK_BYTES else None
        if full:
            self._close_pack(full)
        return stored

    def _compressor(self) -> zstandard.ZstdCompressor:
        compressor: zstandard.ZstdCompressor | None = getattr(self._threads, "compressor", None)
        if compressor is None:
            compressor = self._threads.compressor = zstandard.ZstdCompressor(level=self._parts.level)
        return compressor

    def _new_pack(self) -> PackBuilder:
        return PackBuilder(self._parts.envelope, self._session.id)

    def _take_pack(self) -> PackBuilder:
        """The open pack, replaced by a new one. Waits for the one before to be written: two are in memory at most."""
        self._closing.acquire()
        taken, self._pack = self._pack, self._new_pack()
        return taken

    def _close_pack(self, pack: PackBuilder) -> None:
        """Write a pack that was taken, then let the next be."""
        try:
            if pack.entries:
                self._write_pack(pack)
        finally:
            self._closing.release()

    def _write_pack(self, pack: PackBuilder) -> None:
        name, parts = pack.close()
        with suppress(ObjectExistsError):  # an equal pack is as good
            self._parts.store.put(pack_key(name), parts)
        entries = [
            (chunk, Place(name, offset, length, bool(flags & PACKED)))
            for chunk, offset, length, flags in pack.entries
        ]
        self._parts.index.add(entries)
        with self._lock:
            self._pending += entries
            stored = {chunk for chunk, _ in entries}
            self._healed |= stored & self._damaged
            self._damaged -= stored
            self._own -= stored
            full = len(self._pending) >= _INDEX_EVERY
        if full:
            self._write_index()

    def _write_index(self) -> None:
        with self._lock:
            entries, self._pending = self._pending, []
        write_segments(self._parts.store, self._parts.envelope, entries)

    def checkpoint(self) -> None:
        """Everything put so far is durable and indexed when this returns. Any thread may call it."""
        with self._pack_lock:
            pack = self._take_pack()
        self._close_pack(pack)
        self._write_index()

    def adopt(self, ids: Iterable[ChunkId]) -> set[ChunkId]:
        """Of these, the chunks that the repository has and this session may rely on."""
        return {chunk for chunk in ids if self._usable(chunk)}

    # --- files and maps

    def new_map(self, capacity_bytes: int, base: DiskMap | None = None) -> MapBuilder:
        """An empty map of a disk, or one that shares what is not set with ``base``."""
        builder = MapBuilder(capacity_bytes, self._parts.chunk_size_bytes, base)
        self._builders.append(builder)
        return builder

    def put_file(self, path: str, data: bytes) -> None:
        """A small file of the restore point: VMX, NVRAM, descriptor. ``path`` must be one safe name."""
        if path in self._files:
            raise InputError(f"the restore point has a file {path} already")
        self._files[path] = data

    def put_map(self, disk: DiskEntry, map_: MapBuilder) -> None:
        """A disk of the restore point; the map is complete."""
        self._disks.append((disk, map_))

    # --- commit

    def commit(self, draft: ManifestDraft) -> Manifest:
        """Make the restore point exist. Raises SessionLostError, ObjectExistsError; then nothing exists."""
        if self._failed:
            raise InputError("a chunk could not be stored: the restore point can't be committed")
        self.checkpoint()
        prefix = restore_point_prefix(draft.vm_instance_uuid, draft.restore_point_id)
        files = [self._write_file(prefix, path, data) for path, data in sorted(self._files.items())]
        files += [self._write_map(prefix, disk, builder) for disk, builder in self._disks]
        self._rescue_condemned()
        values = {field.name: getattr(draft, field.name) for field in fields(ManifestDraft)}
        manifest = Manifest(**values, files=tuple(files))
        self._session.check()
        key = manifest_key(draft.vm_instance_uuid, draft.restore_point_id)
        stored = manifest.to_json()
        sealed = self._parts.envelope.seal(key, stored) if self._parts.envelope.encrypted else stored
        self._parts.store.put(key, [sealed])
        forget_damaged(self._parts.store, self._healed)
        self._end()
        return manifest

    def _write_file(self, prefix: str, path: str, data: bytes) -> FileEntry:
        key = f"{prefix}files/{path}"
        self._parts.store.put(key, [self._parts.envelope.seal(key, data)])
        return FileEntry(path, len(data), hashlib.sha256(data).hexdigest())

    def _write_map(self, prefix: str, disk: DiskEntry, builder: MapBuilder) -> FileEntry:
        key = f"{prefix}{disk.path}"
        spooled = SpooledMap(builder, self._parts.envelope, key)
        try:
            self._parts.store.put(key, spooled)
        finally:
            spooled.close()
        return FileEntry(
            path=disk.path,
            size_bytes=spooled.size_bytes,
            disk_key=disk.disk_key,
            disk_uuid=disk.disk_uuid,
            capacity_bytes=disk.capacity_bytes,
            change_id=disk.change_id,
            map_sha256=spooled.sha256,
            label=disk.label,
            read_mode=disk.read_mode,
        )

    def _rescue_condemned(self) -> None:
        """Store again what the maps refer to and a garbage collection has condemned, while it still exists."""
        store, envelope = self._parts.store, self._parts.envelope
        condemned = condemned_packs(read_condemned(store, envelope))
        if not condemned:
            return
        endangered = self._parts.index.only_in(condemned)
        chunks = ChunkReader(store, envelope, self._parts.index)
        self._absent = self._absent | condemned
        for chunk in {chunk for _, builder in self._disks for chunk in _used_of(builder, endangered)}:
            self._put(chunk, chunks.read(chunk))
        self.checkpoint()

    def abort(self) -> None:
        """Give up: nothing becomes visible. What was stored stays until it is collected or met again."""
        self._end()

    def _end(self) -> None:
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


def _used_of(builder: MapBuilder, endangered: set[ChunkId]) -> set[ChunkId]:
    used: set[ChunkId] = set()
    for number in range(builder.segments):
        content = builder.segment(number)
        ids = (ChunkId(content[at : at + ID_BYTES]) for at in range(0, SEGMENT_BYTES, ID_BYTES))
        used.update(chunk for chunk in ids if chunk in endangered)
    return used
