"""Garbage collection in two passes that no backup waits for: condemn, and a day later delete.

A pass does both: it condemns packs that nothing needs, and deletes those condemned at least ``grace`` ago, when
every session that was writing then has ended and still nothing needs them. Packs of which little is needed are
copied first. Why this is safe beside every other operation: docs/design/concurrency.md.

Where anything that tells what is needed can't be read (a manifest, a map, an index segment, a condemned record),
nothing is removed at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from vbm.cancel import CancelToken
from vbm.clock import parse_rfc3339, rfc3339
from vbm.ids import ChunkId, PackId, SessionId, new_id
from vbm.objectstore.base import ObjectMissingError
from vbm.progress import Progress, Silent
from vbm.repository.condemned import CONDEMNED_PREFIX, Condemned, read_condemned, write_condemned
from vbm.repository.damage import damaged_chunks, forget_damaged
from vbm.repository.format import PACKS_PREFIX, FormatError, pack_key
from vbm.repository.gc_state import GcLock, first_seen, is_dead, remember
from vbm.repository.index import write_segments
from vbm.repository.marks import NeedUnknownError, Usage, is_needed, needed, usage_by_pack
from vbm.repository.pack import read_header, read_table
from vbm.repository.repository import RESTORE_POINTS_PREFIX, Repository
from vbm.repository.sessions import SessionInfo, drop_session, list_sessions
from vbm.repository.writer import Writer

GRACE: Final = timedelta(hours=24)
REPACK_BELOW: Final = 0.5  # of a pack's bytes needed


@dataclass(frozen=True, slots=True)
class GcOptions:
    """``grace`` between condemning and deleting; packs less needed than ``repack_below`` are copied."""

    grace: timedelta = GRACE
    repack_below: float = REPACK_BELOW


@dataclass(frozen=True, slots=True)
class GcPlan:
    """What a pass would do. ``waiting_bytes``: condemned, but its time has not come."""

    condemn: tuple[PackId, ...] = ()
    condemn_bytes: int = 0
    repack: tuple[PackId, ...] = ()
    copy_bytes: int = 0
    delete: tuple[PackId, ...] = ()
    delete_bytes: int = 0
    spare: tuple[PackId, ...] = ()  # condemned, and needed again
    waiting_bytes: int = 0
    orphans: tuple[str, ...] = ()  # of restore points that were never committed
    dead_sessions: tuple[SessionId, ...] = ()
    live_sessions: tuple[SessionInfo, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (
            self.condemn or self.repack or self.delete or self.spare or self.orphans or self.dead_sessions
        )


def plan_gc(repo: Repository, options: GcOptions | None = None, cancel: CancelToken | None = None) -> GcPlan:
    """Look, and change nothing. Raises NeedUnknownError where it can't be known what is needed."""
    return _Look(repo, options or GcOptions(), cancel or CancelToken()).plan()


def execute_gc(
    repo: Repository,
    plan: GcPlan,
    options: GcOptions | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> GcPlan:
    """Do what is in the plan and still right: all is looked at anew under the lock. Answers what was done.

    Raises GcRunningError, NeedUnknownError. A pass that is cut short anywhere is made good by the next.
    """
    options, progress, cancel = options or GcOptions(), progress or Silent(), cancel or CancelToken()
    for session in plan.dead_sessions:
        drop_session(repo.store, session)
    with repo.writer(owner="garbage collection") as writer:
        live = {session.id for session in list_sessions(repo.store, repo.envelope)}
        own = SessionId(writer.session_id)
        lock = GcLock(repo.store, own, live - {own})
        try:
            look = _Look(repo, options, cancel, own)
            now = _both(look.plan(), plan)
            _Pass(repo, look, writer, progress).run(now)
        finally:
            lock.release()
    repo.reload()
    return now


def _both(fresh: GcPlan, agreed: GcPlan) -> GcPlan:
    """Of what is right now, that which was agreed to."""
    return replace(
        fresh,
        condemn=tuple(pack for pack in fresh.condemn if pack in set(agreed.condemn)),
        repack=tuple(pack for pack in fresh.repack if pack in set(agreed.repack)),
        delete=tuple(pack for pack in fresh.delete if pack in set(agreed.delete)),
        orphans=tuple(key for key in fresh.orphans if key in set(agreed.orphans)),
        dead_sessions=agreed.dead_sessions,
    )


class _Look:
    """One look at the repository. Order: sessions, condemned records, packs, index, and manifests last.

    A restore point committed after the manifests were read relied on packs that were not condemned then, or
    stored again what was.
    """

    def __init__(
        self, repo: Repository, options: GcOptions, cancel: CancelToken, own: SessionId | None = None
    ) -> None:
        self._repo = repo
        self._options = options
        self._now = repo.clock.now()
        others = [session for session in list_sessions(repo.store, repo.envelope) if session.id != own]
        seen = first_seen(repo.store)
        dead = [s for s in others if is_dead(s, seen.get((s.id, s.beat)), self._now)]
        self.dead = tuple(session.id for session in dead)
        self.live = tuple(session for session in others if session.id not in self.dead)
        self.records = self._read_records()
        self.sizes = {
            PackId(info.key.rpartition("/")[2]): info.size_bytes for info in repo.store.list(PACKS_PREFIX)
        }
        self._refuse_damaged_index()
        self._index_strays()
        self.marks = needed(repo, repo.scan(), cancel)
        self.usage = usage_by_pack(repo.index, self.marks)

    def _read_records(self) -> list[Condemned]:
        try:
            return read_condemned(self._repo.store, self._repo.envelope)
        except FormatError as error:
            raise NeedUnknownError(
                error.message,
                hint=f"nothing was removed; if backups verify well, delete the object {error.context['key']}",
            ) from error

    def _refuse_damaged_index(self) -> None:
        self._repo.refresh()
        if self._repo.damaged_segments:
            key = next(iter(self._repo.damaged_segments))
            raise NeedUnknownError(
                f"{key} is damaged", hint="rebuild the index first: vbm repository repair NAME"
            )

    def _index_strays(self) -> None:
        """Packs that no segment names (their writer died) are known by their own tables, in memory alone."""
        for pack in self.sizes.keys() - self._repo.index.packs():
            try:
                self._repo.index.add(read_table(self._repo.store, self._repo.envelope, pack))
            except (FormatError, ObjectMissingError):
                continue  # nothing in it can be needed that could be read

    def plan(self) -> GcPlan:
        condemned = {pack for record in self.records for pack in record.packs} & self.sizes.keys()
        spare = self._needed_in(condemned)
        ripe = {pack for record in self.records if self._is_ripe(record) for pack in record.packs} & condemned
        delete = ripe - spare
        idle = [pack for pack in self.sizes.keys() - condemned if not self._usage(pack).needed_chunks]
        condemn = [pack for pack in idle if not self._is_of_live(pack)]
        repack = [pack for pack in self.sizes.keys() - condemned if self._is_sparse(pack)]
        return GcPlan(
            condemn=tuple(sorted(condemn)),
            condemn_bytes=self._bytes(condemn),
            repack=tuple(sorted(repack)),
            copy_bytes=sum(self._usage(pack).needed_bytes for pack in repack),
            delete=tuple(sorted(delete)),
            delete_bytes=self._bytes(delete),
            spare=tuple(sorted(spare)),
            waiting_bytes=self._bytes(condemned - delete - spare),
            orphans=self._orphans(),
            dead_sessions=self.dead,
            live_sessions=self.live,
        )

    def _usage(self, pack: PackId) -> Usage:
        return self.usage.get(pack, Usage(0, 0, 0, 0))

    def _bytes(self, packs: Iterable[PackId]) -> int:
        return sum(self.sizes[pack] for pack in packs)

    def _needed_in(self, condemned: set[PackId]) -> set[PackId]:
        """The condemned packs that hold a needed chunk which lies nowhere else."""
        if not condemned:
            return set()
        index = self._repo.index
        alone = (chunk for chunk in index.only_in(condemned) if is_needed(self.marks, chunk))
        return {place.pack for chunk in alone for place in index.places(chunk)}

    def _is_ripe(self, record: Condemned) -> bool:
        old = self._now - parse_rfc3339(record.when) >= self._options.grace
        return old and not set(record.sessions) & {session.id for session in self.live}

    def _is_of_live(self, pack: PackId) -> bool:
        """Whether a session that is still writing made it: its chunks are needed by a manifest yet to come."""
        if not self.live:
            return False
        try:
            return read_header(self._repo.store, pack) in {session.id for session in self.live}
        except (FormatError, ObjectMissingError):
            return False

    def _is_sparse(self, pack: PackId) -> bool:
        usage = self._usage(pack)
        return 0 < usage.needed_bytes < self._options.repack_below * self.sizes[
            pack
        ] and not self._is_of_live(pack)

    def _orphans(self) -> tuple[str, ...]:
        """Maps and files whose manifest does not exist, where nobody could still be about to write it."""
        if self.live:
            return ()
        keys = [info.key for info in self._repo.store.list(RESTORE_POINTS_PREFIX)]
        committed = {key.removesuffix("manifest.json") for key in keys if key.endswith("/manifest.json")}
        return tuple(key for key in keys if "/".join(key.split("/")[:3]) + "/" not in committed)


class _Pass:
    """The changes of one pass, in the order in which a crash between any two of them does no harm."""

    def __init__(self, repo: Repository, look: _Look, writer: Writer, progress: Progress) -> None:
        self._repo = repo
        self._look = look
        self._writer = writer
        self._progress = progress

    def run(self, plan: GcPlan) -> None:
        store, now = self._repo.store, self._repo.clock.now()
        self._copy(plan.repack)
        if plan.condemn or plan.repack:
            self._progress.note(f"condemning {len(plan.condemn) + len(plan.repack)} packs")
            sessions = tuple(session.id for session in plan.live_sessions)
            packs = (*plan.condemn, *plan.repack)
            write_condemned(store, self._repo.envelope, Condemned(new_id(now), rfc3339(now), packs, sessions))
        self._delete(plan)
        for key in plan.orphans:
            store.delete(key)
        unneeded = [chunk for chunk in damaged_chunks(store) if not is_needed(self._look.marks, chunk)]
        forget_damaged(store, unneeded)
        remember(store, list(plan.live_sessions), now)

    def _copy(self, packs: tuple[PackId, ...]) -> None:
        """Store again what is needed of these packs and lies in no other that stays."""
        leaving = {*packs, *(pack for record in self._look.records for pack in record.packs)}
        for pack in packs:
            self._progress.note(f"copying what is needed of pack {pack[:16]}")
            for chunk, _ in read_table(self._repo.store, self._repo.envelope, pack):
                if is_needed(self._look.marks, chunk) and self._lies_only_in(chunk, leaving):
                    self._copy_chunk(chunk)
        self._writer.checkpoint()

    def _lies_only_in(self, chunk: ChunkId, packs: set[PackId]) -> bool:
        return all(place.pack in packs for place in self._repo.index.places(chunk))

    def _copy_chunk(self, chunk: ChunkId) -> None:
        self._writer.store_again(chunk, self._repo.read_chunk(chunk))

    def _delete(self, plan: GcPlan) -> None:
        """An index without the packs, then the packs, then what is left of the records."""
        store, going = self._repo.store, set(plan.delete)
        if going:
            old = self._repo.segment_keys()
            entries = (entry for entry in self._repo.index.entries() if entry[1].pack not in going)
            new = write_segments(store, self._repo.envelope, entries)
            for key in old - set(new):
                store.delete(key)
            self._progress.note(f"deleting {len(going)} packs")
            for pack in sorted(going):
                store.delete(pack_key(pack))
        ended = (
            going
            | set(plan.spare)
            | ({p for r in self._look.records for p in r.packs} - self._look.sizes.keys())
        )
        for record in self._look.records:
            left = tuple(pack for pack in record.packs if pack not in ended)
            if len(left) == len(record.packs):
                continue
            if left:
                again = replace(record, id=f"{record.id}.{len(left)}", packs=left)
                write_condemned(store, self._repo.envelope, again)
            store.delete(f"{CONDEMNED_PREFIX}{record.id}")
