"""What the tests of the repository share: small images, restore points of them, and ways to damage objects."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

from vbm.ids import ZERO_CHUNK, ChangeId, ChunkId, DiskKey, MoRef, RestorePointId, RunId, VmUuid
from vbm.objectstore.base import ObjectStore
from vbm.objectstore.faulty import FaultyStore
from vbm.objectstore.local import LocalStore
from vbm.repository.disk_map import MapBuilder
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import KeyFile, KeySource, NoKey
from vbm.repository.manifest import ByteCounts, DiskEntry, Manifest, ManifestDraft
from vbm.repository.repository import Repository
from vbm.repository.writer import Writer
from vbm.units import KIB

CHUNK = 256 * KIB
DISK = DiskKey(2000)
VM = VmUuid("52a1f0de-0000-1111-2222-333344445555")
KEY = KeyFile(b"k" * 32)
STARTED = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)


def new_repository(store: ObjectStore, key: KeySource = KEY, compression: str = "fast") -> Repository:
    return Repository.create(store, key, RepositoryOptions(CHUNK, compression))


def faulty(path: Path) -> FaultyStore:
    return FaultyStore(LocalStore(path))


def key_of(encrypted: bool) -> KeySource:
    return KEY if encrypted else NoKey()


def image(seed: int, chunks: int, tail: int = 0) -> bytes:
    """Chunks of all kinds, the same for a seed: zeros, text that compresses, noise that does not."""
    dice = random.Random(seed)
    made = []
    for number in range(chunks):
        kind = dice.randrange(4)
        if kind == 0:
            made.append(bytes(CHUNK))
        elif kind == 1:
            made.append((f"{seed} line {number} " * CHUNK)[:CHUNK].encode())
        else:
            made.append(dice.randbytes(CHUNK))
    return b"".join(made) + dice.randbytes(tail)


def noise(seed: int, chunks: int) -> bytes:
    """Chunks that are all different, none of them zeros."""
    return random.Random(seed).randbytes(chunks * CHUNK)


def chunks_of(data: bytes) -> list[bytes]:
    return [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]


def fill(writer: Writer, map_: MapBuilder, data: bytes) -> list[ChunkId]:
    """Put all of a disk and set its map; the ids in order."""
    ids = [writer.put_chunk(chunk).id for chunk in chunks_of(data)]
    for index, chunk in enumerate(ids):
        if chunk != ZERO_CHUNK:
            map_.set(index, chunk)
    return ids


def entry(capacity: int, key: DiskKey = DISK) -> DiskEntry:
    return DiskEntry(
        key, f"uuid-{key}", capacity, ChangeId("52 ab/7"), f"disk-{key}.map", label=f"Hard disk {key - 1999}"
    )


def draft(point: str, **changes: object) -> ManifestDraft:
    values: dict[str, object] = {
        "restore_point_id": RestorePointId(point),
        "run_id": RunId(f"run-{point}"),
        "vm_name": "web01",
        "vm_moref": MoRef("vm-42"),
        "vm_instance_uuid": VM,
        "vcenter": "vc.example",
        "started": STARTED,
        "finished": STARTED,
        "snapshot": "vbm-web01",
        "consistency": "crash",
        "read_mode": "full",
        "transport": "datastore-https",
        "bytes": ByteCounts(read=1, changed=2, audited=3, new=4, zero=5),
    }
    return ManifestDraft(**(values | changes))  # type: ignore[arg-type]


def back_up(repo: Repository, point: str, data: bytes, *, base: str | None = None) -> Manifest:
    """A restore point of one disk; what ``base`` has already is taken from its map."""
    with repo.writer(owner="test") as writer:
        older = repo.disk_map(RestorePointId(base), DISK) if base else None
        map_ = writer.new_map(len(data), older)
        for index, chunk in enumerate(chunks_of(data)):
            stored = writer.put_chunk(chunk)
            if older is None or older.id(index) != stored.id:
                map_.set(index, stored.id)
        writer.put_map(entry(len(data)), map_)
        return writer.commit(draft(point))


def read_back(repo: Repository, point: str) -> bytes:
    disk = repo.disk_reader(RestorePointId(point), DISK)
    data = bytearray(disk.capacity_bytes)
    disk.readinto(0, data)
    return bytes(data)


def files_of(store: LocalStore, prefix: str = "") -> list[Path]:
    return [store.root / key for key in sorted(info.key for info in store.list(prefix))]


def flip(path: Path, at: int) -> None:
    """Alter one bit of a stored object."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
