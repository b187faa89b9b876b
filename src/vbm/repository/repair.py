"""Repair: the index rebuilt from the packs' own tables. Restore points are never touched.

What can't be rebuilt (a pack gone or unreadable) is told; the chunks that were in it are recorded as damaged, so
that the next backup that has them stores them again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vbm.cancel import CancelToken
from vbm.ids import ChunkId, PackId
from vbm.objectstore.base import ObjectMissingError
from vbm.progress import Progress, Silent
from vbm.repository.damage import record_bad_packs, record_damaged
from vbm.repository.format import FormatError
from vbm.repository.index import INDEX_PREFIX, Entry, write_segments
from vbm.repository.pack import list_packs, read_table
from vbm.repository.repository import Repository


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """``packs`` hold what they say; of ``unreadable`` ones the old index may still know; ``missing`` are gone."""

    packs: int
    unreadable: tuple[PackId, ...]
    missing: tuple[PackId, ...]
    damaged_segments: tuple[str, ...]
    unindexed: tuple[PackId, ...]
    lost_chunks: tuple[ChunkId, ...]

    @property
    def is_needed(self) -> bool:
        """Whether the index says something else than the packs."""
        return bool(self.unreadable or self.missing or self.damaged_segments or self.unindexed)


def plan_repair(
    repo: Repository, progress: Progress | None = None, cancel: CancelToken | None = None
) -> RepairPlan:
    """Compare the index with every pack's table. Two or three small reads a pack; changes nothing."""
    cancel, progress = cancel or CancelToken(), progress or Silent()
    repo.reload()  # what a garbage collection has rewritten since would seem to be missing
    there = sorted(pack for pack, _ in list_packs(repo.store))
    unreadable = []
    for pack in there:
        cancel.check()
        try:
            read_table(repo.store, repo.envelope, pack)
        except (FormatError, ObjectMissingError) as error:
            progress.note(f"pack {pack[:16]}: {error.message}")
            unreadable.append(pack)
    indexed = repo.index.packs()
    missing = indexed - set(there)
    return RepairPlan(
        packs=len(there),
        unreadable=tuple(unreadable),
        missing=tuple(sorted(missing)),
        damaged_segments=tuple(repo.damaged_segments),
        unindexed=tuple(pack for pack in there if pack not in indexed and pack not in unreadable),
        lost_chunks=tuple(sorted(repo.index.only_in(missing))) if missing else (),
    )


def execute_repair(repo: Repository, plan: RepairPlan, cancel: CancelToken | None = None) -> None:
    """Write the new index, then remove the old: at no moment is there less than there was."""
    cancel = cancel or CancelToken()
    record_bad_packs(repo.store, plan.unreadable)
    old = repo.segment_keys() | {
        info.key for info in repo.store.list(INDEX_PREFIX) if info.key in repo.damaged_segments
    }
    lost = {*plan.lost_chunks}
    new = write_segments(repo.store, repo.envelope, _without(lost, _entries(repo, plan, cancel)))
    record_damaged(repo.store, lost)
    for key in old - set(new):
        repo.store.delete(key)
    repo.reload()


def _without(lost: set[ChunkId], entries: Iterator[Entry]) -> Iterator[Entry]:
    """Strike what is found after all from the lost."""
    for entry in entries:
        lost.discard(entry[0])
        yield entry


def _entries(repo: Repository, plan: RepairPlan, cancel: CancelToken) -> Iterator[Entry]:
    """Every pack's own table; for a pack whose table is damaged, what the old index knows of it."""
    unreadable = set(plan.unreadable)
    for pack, _ in list_packs(repo.store):
        cancel.check()
        if pack not in unreadable:
            yield from read_table(repo.store, repo.envelope, pack)
    if unreadable:
        yield from (entry for entry in repo.index.entries() if entry[1].pack in unreadable)
