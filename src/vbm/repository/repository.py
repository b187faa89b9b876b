"""The repository: restore points in an object store, deduplicated, compressed, encrypted and checksummed."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vbm.clock import Clock, SystemClock, parse_rfc3339, rfc3339
from vbm.errors import InputError, NotFoundError, VbmError
from vbm.ids import ChunkId, DiskKey, PackId, RestorePointId, VmUuid
from vbm.objectstore.base import ObjectExistsError, ObjectMissingError, ObjectStore
from vbm.repository import keys, pins
from vbm.repository.chunks import ChunkReader, StoredDisk
from vbm.repository.disk_map import DiskMap
from vbm.repository.envelope import Envelope
from vbm.repository.format import (
    CONFIG_KEY,
    FORMAT_VERSION,
    LEVELS,
    MANIFEST_NAME,
    SAFE_SEGMENT,
    FormatError,
    NewerFormatError,
    NotARepositoryError,
    RepositoryOptions,
    manifest_key,
    restore_point_prefix,
)
from vbm.repository.index import INDEX_PREFIX, ChunkIndex, read_segment
from vbm.repository.index_run import Array
from vbm.repository.keys import KeySource, NoKey
from vbm.repository.manifest import Manifest
from vbm.repository.writer import Parts, Writer

RESTORE_POINTS_PREFIX: Final = "restore-points/"
_ATTEMPTS: Final = 8  # listings, while segments are replaced as they are read


@dataclass(frozen=True, slots=True)
class RepositoryConfig:
    """What was chosen when the repository was made; never changes."""

    repository_id: str
    chunk_size_bytes: int
    compression: str
    encrypted: bool
    created: str

    def to_json(self) -> bytes:
        encryption = "aes-256-gcm" if self.encrypted else "none"
        document = {
            "format": FORMAT_VERSION,
            "repository_id": self.repository_id,
            "chunk_size_bytes": self.chunk_size_bytes,
            "compression": self.compression,
            "encryption": encryption,
            "created": self.created,
        }
        return json.dumps(document, indent=1).encode()

    @classmethod
    def from_json(cls, stored: bytes, where: str) -> RepositoryConfig:
        try:
            document = json.loads(stored)
            if document["format"] > FORMAT_VERSION:
                raise NewerFormatError(f"{where} has format {document['format']}", hint="use a newer vbm")
            options = RepositoryOptions(document["chunk_size_bytes"], document["compression"])
            parse_rfc3339(document["created"])
            encrypted = {"aes-256-gcm": True, "none": False}[document["encryption"]]
            identity = str(document["repository_id"])
            return cls(
                identity, options.chunk_size_bytes, options.compression, encrypted, document["created"]
            )
        except (ValueError, KeyError, TypeError, InputError) as error:
            raise FormatError(f"the config of {where} is damaged: {error}") from error


@dataclass(frozen=True, slots=True)
class DamagedRestorePoint:
    """A restore point whose manifest can't be read."""

    vm: VmUuid
    id: RestorePointId
    error: VbmError


class Repository:
    """An open repository. Thread-safe. ``close`` it, or ``with`` it."""

    def __init__(
        self,
        store: ObjectStore,
        config: RepositoryConfig,
        master: bytes | None,
        raw_config: bytes,
        clock: Clock,
    ) -> None:
        self.store = store
        self.config = config
        self.id = config.repository_id
        self.clock = clock
        self.envelope = Envelope(master)
        self.index = ChunkIndex()
        self.damaged_segments: dict[str, VbmError] = {}
        self._master = master
        self._raw_config = raw_config
        self._segments: set[str] = set()
        self._refreshing = threading.Lock()
        self._chunks = ChunkReader(store, self.envelope, self.index, self._refreshed)

    # --- making and opening

    @classmethod
    def create(
        cls,
        store: ObjectStore,
        key: KeySource,
        options: RepositoryOptions | None = None,
        *,
        clock: Clock | None = None,
    ) -> Repository:
        """Make a repository where there is none, and open it. Its config is written last: it makes it one."""
        clock, options = clock or SystemClock(), options or RepositoryOptions()
        now = clock.now()
        encrypted = not isinstance(key, NoKey)
        config = RepositoryConfig(
            secrets.token_hex(16), options.chunk_size_bytes, options.compression, encrypted, rfc3339(now)
        )
        taken = InputError(f"{store.url} holds a repository already", hint="open it, or choose another place")
        if next(store.list(CONFIG_KEY), None):
            raise taken
        raw = config.to_json()
        master = os.urandom(keys.MASTER_BYTES) if encrypted else None
        if master is not None:
            keys.add_slot(store, raw, master, key, label="first", now=now)
        try:
            store.put(CONFIG_KEY, [raw])
        except ObjectExistsError as error:
            raise taken from error
        return cls(store, config, master, raw, clock)

    @classmethod
    def open(cls, store: ObjectStore, key: KeySource, *, clock: Clock | None = None) -> Repository:
        """Open with a key of one of its slots. Raises NotARepositoryError, WrongKeyError, NewerFormatError."""
        try:
            raw = store.get(CONFIG_KEY)
        except ObjectMissingError as error:
            raise NotARepositoryError(
                f"there is no repository at {store.url}",
                hint="check the path, or make one: vbm repository create",
            ) from error
        config = RepositoryConfig.from_json(raw, store.url)
        if config.encrypted == isinstance(key, NoKey):
            state = "encrypted: a passphrase or key file is needed" if config.encrypted else "not encrypted"
            raise keys.WrongKeyError(f"the repository at {store.url} is {state}")
        master = keys.unlock(store, raw, key) if config.encrypted else None
        repository = cls(store, config, master, raw, clock or SystemClock())
        repository.refresh()
        return repository

    def refresh(self) -> None:
        """Learn what other writers have indexed since. A damaged segment is remembered and passed over."""
        with self._refreshing:
            for _ in range(_ATTEMPTS):
                names = {info.key for info in self.store.list(INDEX_PREFIX)}
                replaced: list[str] = []
                self.index.add_segments(self._read_segments(sorted(names - self._segments), replaced))
                if not replaced:
                    return

    def _read_segments(self, names: list[str], replaced: list[str]) -> Iterator[tuple[list[PackId], Array]]:
        """Those that can be read; a garbage collection may have ``replaced`` some since they were listed."""
        for name in names:
            try:
                segment = read_segment(self.store, self.envelope, name)
            except ObjectMissingError:
                replaced.append(name)
                continue
            except FormatError as error:
                self.damaged_segments[name] = error
            else:
                yield segment
            self._segments.add(name)

    def segment_keys(self) -> set[str]:
        """The keys of the index segments that were read or found damaged."""
        return set(self._segments)

    def reload(self) -> None:
        """Forget the index and read it anew: after a repair or a garbage collection."""
        with self._refreshing:
            self.index = ChunkIndex()
            self._segments.clear()
            self.damaged_segments.clear()
            self._chunks = ChunkReader(self.store, self.envelope, self.index, self._refreshed)
        self.refresh()

    def _refreshed(self) -> ChunkIndex:
        self.refresh()
        return self.index

    def close(self) -> None:
        self.store.close()

    def __enter__(self) -> Repository:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- keys

    def key_slots(self) -> list[keys.KeySlot]:
        return keys.list_slots(self.store)

    def add_key(self, source: KeySource, *, label: str = "") -> keys.KeySlot:
        """One more way to open it. Raises InputError where the repository is not encrypted."""
        if self._master is None:
            raise InputError(f"the repository at {self.store.url} is not encrypted: it has no keys")
        return keys.add_slot(
            self.store, self._raw_config, self._master, source, label=label, now=self.clock.now()
        )

    def revoke_key(self, slot_id: str) -> None:
        keys.revoke_slot(self.store, slot_id)

    # --- reading

    def scan(self, vm: VmUuid | None = None) -> Iterator[Manifest | DamagedRestorePoint]:
        """Every restore point, of each VM oldest first; those that can't be read as what is wrong with them."""
        for vm_part, point in sorted(self._places(vm)):
            try:
                yield self._read_manifest(vm_part, point)
            except ObjectMissingError:
                continue  # deleted since it was listed
            except (FormatError, NewerFormatError) as error:
                yield DamagedRestorePoint(vm_part, point, error)

    def restore_points(self, vm: VmUuid | None = None) -> Iterator[Manifest]:
        """Every readable restore point, of each VM oldest first."""
        return (found for found in self.scan(vm) if isinstance(found, Manifest))

    def _read_manifest(self, vm: VmUuid, point: RestorePointId) -> Manifest:
        key = manifest_key(vm, point)
        stored = self.store.get(key)
        manifest = Manifest.from_json(
            self.envelope.open(key, stored) if self.config.encrypted else stored, key
        )
        if (manifest.vm_instance_uuid, manifest.restore_point_id) != (vm, point):
            raise FormatError(f"{key} is the manifest of another restore point", key=key)
        return manifest

    def exists(self, manifest: Manifest) -> bool:
        """Whether the restore point has not been deleted since its manifest was read."""
        try:
            self.store.size(manifest_key(manifest.vm_instance_uuid, manifest.restore_point_id))
        except ObjectMissingError:
            return False
        return True

    def manifest(self, point: RestorePointId) -> Manifest:
        """The restore point of that id. Raises NotFoundError naming the nearest."""
        places = {found: vm for vm, found in self._places()}
        if point not in places:
            near = difflib.get_close_matches(point, places, n=3, cutoff=0.6)
            hint = f"did you mean {', '.join(near)}?" if near else "list them: vbm restore-point list"
            raise NotFoundError(f"no restore point {point!r} in {self.store.url}", hint=hint)
        return self._read_manifest(places[point], point)

    def point_ids(self) -> list[RestorePointId]:
        """Of every restore point, readable or not, without reading any."""
        return [point for _, point in self._places()]

    def _places(self, vm: VmUuid | None = None) -> Iterator[tuple[VmUuid, RestorePointId]]:
        """VM and id of everything that has the name of a manifest."""
        prefix = f"{RESTORE_POINTS_PREFIX}{vm}/" if vm else RESTORE_POINTS_PREFIX
        for info in self.store.list(prefix):
            parts = info.key.split("/")
            if len(parts) == 4 and parts[3] == MANIFEST_NAME and all(map(SAFE_SEGMENT.fullmatch, parts)):
                yield VmUuid(parts[1]), RestorePointId(parts[2])

    def open_map(self, manifest: Manifest, disk: DiskKey) -> DiskMap:
        """The map of one disk of a manifest at hand; the index knows its chunks afterwards.

        Raises FormatError where it is damaged or missing, ObjectMissingError where the restore point was deleted.
        """
        self.refresh()  # another process may have written it since; segments come before manifests
        entry = manifest.disk(disk)
        key = restore_point_prefix(manifest.vm_instance_uuid, manifest.restore_point_id) + entry.path
        try:
            found = DiskMap(self.store, self.envelope, key)
        except ObjectMissingError as error:
            if not self.exists(manifest):
                raise
            raise FormatError(f"{key} is missing, though its manifest is there", key=key) from error
        if (found.capacity_bytes, found.chunk_size_bytes) != (
            entry.capacity_bytes,
            self.config.chunk_size_bytes,
        ):
            raise FormatError(f"{found.key} is the map of a disk of another size", key=found.key)
        return found

    def disk_map(self, point: RestorePointId, disk: DiskKey) -> DiskMap:
        return self.open_map(self.manifest(point), disk)

    def read_chunk(self, chunk: ChunkId) -> bytes:
        """The chunk's bytes, checked against its id. Raises DamagedError."""
        return self._chunks.read(chunk)

    def disk_reader(self, point: RestorePointId, disk: DiskKey) -> StoredDisk:
        """A stored disk to read from, anywhere and by several threads."""
        return StoredDisk(self.disk_map(point, disk), self._chunks)

    def read_file(self, point: RestorePointId, path: str) -> bytes:
        """One small file of a restore point. Raises NotFoundError, FormatError."""
        manifest = self.manifest(point)
        entry = next((found for found in manifest.files if found.path == path and not found.is_disk), None)
        if entry is None:
            there = ", ".join(found.path for found in manifest.files if not found.is_disk) or "no files"
            raise NotFoundError(f"restore point {point} has no file {path!r}", hint=f"it has: {there}")
        prefix = restore_point_prefix(manifest.vm_instance_uuid, point)
        key = f"{prefix}files/{entry.stored_as or path}"
        data = self.envelope.open(key, self.store.get(key))
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise FormatError(f"{key} is not the file of its manifest", key=key)
        return data

    # --- writing

    def writer(self, *, owner: str) -> Writer:
        """A new writer session; ``owner`` says for whom, such as ``backup of web01``."""
        self.refresh()
        parts = Parts(
            self.store,
            self.envelope,
            self.index,
            self.clock,
            self.config.chunk_size_bytes,
            LEVELS[self.config.compression],
        )
        return Writer(parts, owner)

    def pin(self, point: RestorePointId) -> None:
        """Keep it whatever retention says. Raises NotFoundError."""
        self.manifest(point)
        pins.pin(self.store, point)

    def unpin(self, point: RestorePointId) -> None:
        pins.unpin(self.store, point)

    def pinned(self) -> frozenset[RestorePointId]:
        return pins.pinned(self.store)
