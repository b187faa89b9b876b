"""Which chunks are needed: by the first eight bytes of their ids, sorted, 8 bytes a chunk whatever needs it how often.

Two ids with the same beginning count as one: then both are kept, which loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vbm.cancel import CancelToken
from vbm.errors import DamagedError
from vbm.ids import ChunkId, PackId
from vbm.objectstore.base import ObjectMissingError
from vbm.repository.disk_map import DiskMap
from vbm.repository.format import FormatError
from vbm.repository.index import ChunkIndex
from vbm.repository.manifest import Manifest
from vbm.repository.repository import DamagedRestorePoint, Repository

Marks = npt.NDArray[np.uint64]
_WORDS = 4  # 8-byte words of an id
_COLLECTED = 1 << 20  # marks gathered before they are merged


class NeedUnknownError(DamagedError):
    """A restore point can't be read, so nobody knows which chunks it needs: nothing may be removed."""

    code = "need-unknown"


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one pack: how many of its chunks are needed, and their bytes as stored."""

    chunks: int
    stored_bytes: int
    needed_chunks: int
    needed_bytes: int


def marks_of_map(disk_map: DiskMap) -> Marks:
    """The marks of one disk's chunks; zero chunks have none."""
    found = [_none()]
    for number in range(disk_map.segments):
        if not disk_map.is_zero_segment(number):
            words = np.frombuffer(disk_map.segment(number), "<u8").reshape(-1, _WORDS)
            found.append(words[words.any(axis=1), 0])
    return union(found)


def needed(
    repo: Repository,
    points: Iterable[Manifest | DamagedRestorePoint],
    cancel: CancelToken,
    *,
    pass_over_damage: bool = False,
) -> Marks:
    """The marks of every chunk that these restore points need. Raises NeedUnknownError naming what is damaged.

    To ``pass_over_damage`` is for estimates alone: never remove anything by what it answers.
    """
    marks, waiting, count = _none(), [], 0
    for point in points:
        cancel.check()
        try:
            marks_of_point = _marks_of_point(repo, point)
        except NeedUnknownError:
            if not pass_over_damage:
                raise
            continue
        for found in marks_of_point:
            waiting.append(found)
            count += len(found)
        if count > _COLLECTED:
            marks, waiting, count = union([marks, *waiting]), [], 0
    return union([marks, *waiting])


def _marks_of_point(repo: Repository, point: Manifest | DamagedRestorePoint) -> list[Marks]:
    try:
        if isinstance(point, DamagedRestorePoint):
            raise point.error
        keys = [disk.disk_key for disk in point.disks if disk.disk_key is not None]
        return [marks_of_map(repo.open_map(point, key)) for key in keys]
    except (FormatError, ObjectMissingError) as error:
        if isinstance(point, Manifest) and not repo.exists(point):
            return []  # deleted while it was read
        name = point.id if isinstance(point, DamagedRestorePoint) else point.restore_point_id
        raise NeedUnknownError(
            f"restore point {name} can't be read: {error.message}",
            hint="nothing was removed; verify it, and delete it if it can't be healed: vbm restore-point delete",
        ) from error


def union(marks: list[Marks]) -> Marks:
    """All of them, each once, ascending. (``np.unique`` would load all of ``numpy.ma`` first.)"""
    if not marks:
        return _none()
    every = np.concatenate(marks)
    every.sort()
    first = np.ones(len(every), np.bool_)
    np.not_equal(every[1:], every[:-1], out=first[1:])
    return every[first]


def _none() -> Marks:
    return np.empty(0, "<u8")


def is_marked(marks: Marks, ids: Any) -> npt.NDArray[np.bool_]:
    """For each id of an array of ids, whether it is marked."""
    return among(marks, words_of(ids))


def words_of(ids: Any) -> Marks:
    """The first eight bytes of each id of an array."""
    return np.frombuffer(ids.tobytes(), "<u8").reshape(-1, _WORDS)[:, 0]


def among(marks: Marks, words: Marks) -> npt.NDArray[np.bool_]:
    if not len(marks):
        return np.zeros(len(words), np.bool_)
    at = np.minimum(marks.searchsorted(words), len(marks) - 1)
    return np.asarray(marks[at] == words)


def is_needed(marks: Marks, chunk: ChunkId) -> bool:
    return bool(among(marks, np.frombuffer(chunk[:8], "<u8"))[0])


def usage_by_pack(index: ChunkIndex, marks: Marks) -> dict[PackId, Usage]:
    """For each pack of the index, how much of it is needed."""
    totals: dict[PackId, list[int]] = {}
    for packs, ids, numbers, lengths in index.columns():
        marked = is_marked(marks, ids)
        sums = [
            np.bincount(numbers, minlength=len(packs)),
            np.bincount(numbers, lengths, minlength=len(packs)),
            np.bincount(numbers[marked], minlength=len(packs)),
            np.bincount(numbers[marked], lengths[marked], minlength=len(packs)),
        ]
        for number in np.flatnonzero(sums[0]).tolist():
            row = totals.setdefault(packs[number], [0, 0, 0, 0])
            for at, column in enumerate(sums):
                row[at] += int(column[number])
    return {pack: Usage(*row) for pack, row in totals.items()}
