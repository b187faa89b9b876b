"""What a repository holds, and what each VM costs in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vbm.cancel import CancelToken
from vbm.ids import VmUuid
from vbm.repository.marks import Marks, among, marks_of_map, union, words_of
from vbm.repository.repository import DamagedRestorePoint, Repository


@dataclass(frozen=True, slots=True)
class VmUsage:
    """One VM. ``unique_bytes``: stored for it alone, what deleting all its restore points would free."""

    vm: VmUuid
    name: str
    restore_points: int
    logical_bytes: int
    unique_bytes: int
    needed_bytes: int


@dataclass(frozen=True, slots=True)
class Stats:
    """``logical_bytes``: all disks' capacity; ``used_bytes``: of that not zeros; ``stored_bytes``: on the store."""

    restore_points: int
    damaged_restore_points: int
    logical_bytes: int
    used_bytes: int
    stored_bytes: int
    pack_bytes: int
    needed_bytes: int
    chunks: int
    packs: int
    vms: tuple[VmUsage, ...]

    @property
    def ratio(self) -> float:
        """How many bytes of disks, zeros left out, one stored byte stands for."""
        return self.used_bytes / self.stored_bytes if self.stored_bytes else 0.0


def gather(repo: Repository, cancel: CancelToken | None = None) -> Stats:
    """Read every map once. Raises NeedUnknownError's causes only for maps: damaged manifests are counted."""
    cancel = cancel or CancelToken()
    found: dict[VmUuid, _Vm] = {}
    damaged = used = 0
    for point in repo.scan():
        cancel.check()
        if isinstance(point, DamagedRestorePoint):
            damaged += 1
            continue
        vm = found.setdefault(point.vm_instance_uuid, _Vm())
        vm.name, vm.points, vm.logical = point.vm_name, vm.points + 1, vm.logical + point.size_bytes
        for disk in point.disks:
            if disk.disk_key is not None:
                disk_map = repo.open_map(point, disk.disk_key)
                chunks = marks_of_map(disk_map)
                used += sum(1 for _ in disk_map.used()) * disk_map.chunk_size_bytes
                vm.marks = union([vm.marks, chunks])
    return _counted(repo, found, damaged, used)


class _Vm:
    """What was seen of one VM so far."""

    def __init__(self) -> None:
        self.name = ""
        self.points = 0
        self.logical = 0
        self.marks: Marks = np.empty(0, "<u8")


def _counted(repo: Repository, found: dict[VmUuid, _Vm], damaged: int, used: int) -> Stats:
    words, lengths = _stored_lengths(repo)
    every, users = np.unique(
        np.concatenate([_none(), *(vm.marks for vm in found.values())]), return_counts=True
    )
    alone = every[users == 1]
    vms = [
        VmUsage(
            uuid,
            vm.name,
            vm.points,
            vm.logical,
            unique_bytes=_sum(words, lengths, vm.marks[among(alone, vm.marks)]),
            needed_bytes=_sum(words, lengths, vm.marks),
        )
        for uuid, vm in found.items()
    ]
    sizes = [(info.key, info.size_bytes) for info in repo.store.list()]
    packs = [size for key, size in sizes if key.startswith("packs/")]
    return Stats(
        restore_points=sum(vm.restore_points for vm in vms),
        damaged_restore_points=damaged,
        logical_bytes=sum(vm.logical_bytes for vm in vms),
        used_bytes=used,
        stored_bytes=sum(size for _, size in sizes),
        pack_bytes=sum(packs),
        needed_bytes=_sum(words, lengths, every),
        chunks=len(every),
        packs=len(packs),
        vms=tuple(sorted(vms, key=lambda vm: -vm.unique_bytes)),
    )


def _none() -> Marks:
    return np.empty(0, "<u8")


def _stored_lengths(repo: Repository) -> tuple[Marks, Any]:
    """Marks of all stored chunks, ascending, each once, and how many bytes each takes."""
    pieces = [(words_of(ids), lengths) for _, ids, _, lengths in repo.index.columns()]
    words = np.concatenate([_none(), *(piece for piece, _ in pieces)])
    lengths = np.concatenate([np.empty(0, "<u4"), *(piece for _, piece in pieces)])
    words, first = np.unique(words, return_index=True)
    return words, lengths[first]


def _sum(words: Marks, lengths: Any, wanted: Marks) -> int:
    return int(lengths[among(wanted, words)].sum(dtype="u8")) if len(words) else 0
