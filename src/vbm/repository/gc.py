"""Garbage collection in two passes that no backup waits for: condemn, and a day later delete.

A pass does both: it condemns packs that nothing needs, and deletes those condemned at least ``grace`` ago, when
every session that was writing then has ended and still nothing needs them. Packs of which little is needed, or that
hold damage, are copied first. Before a pack goes, what is needed of it is read from where it lies otherwise. Why
this is safe beside every other operation: docs/design/concurrency.md.

Where anything that tells what is needed can't be read (a manifest, a map, an index segment, a condemned record),
nothing is removed at all.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Container, Iterable
from dataclasses import replace
from typing import TypeVar

from vbm.cancel import CancelToken
from vbm.clock import rfc3339
from vbm.errors import DamagedError
from vbm.ids import ChunkId, PackId, SessionId, new_id
from vbm.objectstore.base import ObjectMissingError
from vbm.progress import Progress, Silent
from vbm.repository.condemned import CONDEMNED_PREFIX, Condemned, write_condemned
from vbm.repository.damage import damaged_chunks, forget_bad_packs, forget_damaged
from vbm.repository.format import pack_key
from vbm.repository.gc_look import GRACE, REPACK_BELOW, GcOptions, GcPlan, Look, dead_of
from vbm.repository.gc_state import GcLock, remember
from vbm.repository.index import write_segments
from vbm.repository.marks import is_needed
from vbm.repository.pack import Place, open_chunk
from vbm.repository.repository import Repository
from vbm.repository.sessions import drop_session, list_sessions, stray_beats
from vbm.repository.writer import Writer

T = TypeVar("T")
__all__ = ["GRACE", "REPACK_BELOW", "GcOptions", "GcPlan", "execute_gc", "plan_gc"]


def plan_gc(repo: Repository, options: GcOptions | None = None, cancel: CancelToken | None = None) -> GcPlan:
    """Look, and change nothing. Raises NeedUnknownError where it can't be known what is needed."""
    try:
        return Look(repo, options or GcOptions(), cancel or CancelToken()).plan()
    finally:
        repo.reload()  # packs that no segment names were known for the look alone


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
    _see_to_sessions(repo, plan)
    with repo.writer(owner="garbage collection") as writer:
        own = SessionId(writer.session_id)
        GcLock(repo.store, repo.envelope, own)
        look = Look(repo, options, cancel, own)
        done = _Pass(repo, look, writer, progress, cancel).run(_both(look.plan(), plan))
    repo.reload()
    return done


def _see_to_sessions(repo: Repository, plan: GcPlan) -> None:
    """Drop the dead and note the heartbeats of the others, before the lock: it may be held by one that died."""
    sessions = list_sessions(repo.store, repo.envelope)
    dead = [s.id for s in dead_of(repo, sessions) if s.id in plan.dead_sessions]
    for session in dead:
        drop_session(repo.store, session)
    for key in stray_beats(repo.store):
        repo.store.delete(key)
    remember(repo.store, [s for s in sessions if s.id not in dead], repo.clock.now())


def _both(fresh: GcPlan, agreed: GcPlan) -> GcPlan:
    """Of what is right now, that which was agreed to."""
    return replace(
        fresh,
        condemn=_common(fresh.condemn, agreed.condemn),
        repack=_common(fresh.repack, agreed.repack),
        delete=_common(fresh.delete, agreed.delete),
        orphans=_common(fresh.orphans, agreed.orphans),
        adopt=_common(fresh.adopt, agreed.adopt),
        stale=_common(fresh.stale, agreed.stale),
        dead_sessions=agreed.dead_sessions,
    )


def _common(one: Iterable[T], other: Iterable[T]) -> tuple[T, ...]:
    there = {*other}
    return tuple(each for each in one if each in there)


class _Pass:
    """The changes of one pass, in the order in which a crash between any two of them does no harm."""

    def __init__(
        self, repo: Repository, look: Look, writer: Writer, progress: Progress, cancel: CancelToken
    ) -> None:
        self._repo = repo
        self._look = look
        self._writer = writer
        self._progress = progress
        self._cancel = cancel

    def run(self, plan: GcPlan) -> GcPlan:
        store = self._repo.store
        self._adopt({*plan.adopt})
        plan = replace(plan, repack=self._copy(plan.repack))
        self._writer.check_session()
        self._condemn((*plan.condemn, *plan.repack))
        plan = self._delete(plan)
        for key in plan.orphans:
            store.delete(key)
        self._forget()
        look = self._look
        return replace(
            plan, condemn_bytes=look.bytes_of(plan.condemn), delete_bytes=look.bytes_of(plan.delete)
        )

    # --- pass 1

    def _adopt(self, packs: set[PackId]) -> None:
        """Let the index name what only the packs' own tables did."""
        if packs:
            entries = (entry for entry in self._repo.index.entries() if entry[1].pack in packs)
            write_segments(self._repo.store, self._repo.envelope, entries)

    def _copy(self, packs: tuple[PackId, ...]) -> tuple[PackId, ...]:
        """Store again what is needed of these packs and can be read from none that stays. Those that may go."""
        if not packs:
            return ()
        self._progress.note(f"copying what is needed of {len(packs)} packs")
        going, staying = {*packs}, self._look.staying(packs)
        copied: set[ChunkId] = set()
        for chunk, place in self._look.needed_entries(going):
            self._cancel.check()
            if chunk in copied or self._is_readable(chunk, staying):
                continue
            try:
                self._writer.store_again(chunk, self._repo.read_chunk(chunk))
                copied.add(chunk)
            except DamagedError as error:  # what holds the last copy stays, whatever it is worth
                self._progress.warn(f"pack {place.pack[:16]} can't be replaced: {error.message}")
                going.discard(place.pack)
        self._writer.checkpoint()
        return tuple(pack for pack in packs if pack in going)

    def _is_readable(self, chunk: ChunkId, packs: Container[PackId]) -> bool:
        """Whether the chunk can be read, and is right, from one of these packs."""
        return any(
            self._is_good(chunk, place) for place in self._repo.index.places(chunk) if place.pack in packs
        )

    def _is_good(self, chunk: ChunkId, place: Place) -> bool:
        try:
            stored = self._repo.store.get_range(pack_key(place.pack), place.offset, place.length)
            open_chunk(self._repo.envelope, chunk, place, stored)
        except (DamagedError, ObjectMissingError):
            return False
        return True

    def _condemn(self, packs: tuple[PackId, ...]) -> None:
        """Write the record, and only then who is writing: who came later has read it."""
        store, envelope, now = self._repo.store, self._repo.envelope, self._repo.clock.now()
        pending = [record for record in self._look.records if record.sessions is None]
        if packs:
            self._progress.note(f"condemning {len(packs)} packs")
            record = Condemned(new_id(now), rfc3339(now), packs, None)
            write_condemned(store, envelope, record)
            pending.append(record)
        own = self._writer.session_id
        sessions = tuple(s.id for s in list_sessions(store, envelope) if s.id != own) if pending else ()
        for record in pending:
            self._replace(record, replace(record, sessions=sessions))

    def _replace(self, record: Condemned, new: Condemned) -> None:
        """The new record under a name of its own, then the old one goes."""
        new = replace(new, id=f"{record.id.partition('.')[0]}.{secrets.token_hex(4)}")
        write_condemned(self._repo.store, self._repo.envelope, new)
        self._repo.store.delete(f"{CONDEMNED_PREFIX}{record.id}")

    # --- pass 2

    def _delete(self, plan: GcPlan) -> GcPlan:
        """An index without the packs, then the packs, then what is left of the records."""
        store = self._repo.store
        going = self._without_last_copies({*plan.delete})
        spare = {*plan.spare, *plan.delete} - going
        if going or plan.stale:
            self._writer.check_session()
            self._write_index(going | {*plan.stale})
            self._progress.note(f"deleting {len(going)} packs")
            self._each(sorted(going), lambda pack: store.delete(pack_key(pack)))
            forget_bad_packs(store, going & self._look.bad)
        named = {pack for record in self._look.records for pack in record.packs}
        ended = going | spare | (named - self._look.sizes.keys())
        for record in self._look.records:
            left = tuple(pack for pack in record.packs if pack not in ended)
            if record.sessions is None or len(left) == len(record.packs):
                continue
            if left:
                self._replace(record, replace(record, packs=left))
            else:
                store.delete(f"{CONDEMNED_PREFIX}{record.id}")
        return replace(plan, delete=tuple(sorted(going)), spare=tuple(sorted(spare)))

    def _without_last_copies(self, going: set[PackId]) -> set[PackId]:
        """Leave out the packs of which something is needed that can't be read from another that stays."""
        staying = self._look.staying(going)
        last = set()
        for chunk, place in self._look.needed_entries(going):
            self._cancel.check()
            if place.pack not in last and not self._is_readable(chunk, staying):
                self._progress.warn(f"pack {place.pack[:16]} is kept: it has the last copy of something")
                last.add(place.pack)
        return going - last

    def _write_index(self, going: set[PackId]) -> None:
        store = self._repo.store
        old = self._repo.segment_keys()
        entries = (entry for entry in self._repo.index.entries() if entry[1].pack not in going)
        new = write_segments(store, self._repo.envelope, entries)
        for key in old - {*new}:
            store.delete(key)

    def _each(self, packs: Iterable[PackId], act: Callable[[PackId], None]) -> None:
        for pack in packs:
            self._cancel.check()
            act(pack)

    def _forget(self) -> None:
        """Records of damaged chunks that nothing needs, and of which no bad copy lies about, have no more use."""
        marks, places = self._look.marks, self._repo.index.places
        forget_damaged(
            self._repo.store,
            [
                chunk
                for chunk in damaged_chunks(self._repo.store)
                if not is_needed(marks, chunk)
                and not any(place.pack in self._look.sizes for place in places(chunk))
            ],
        )
