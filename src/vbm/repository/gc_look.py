"""One look at a repository, for garbage collection: what is needed, who is writing, what could go."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np

from vbm.cancel import CancelToken
from vbm.clock import parse_rfc3339
from vbm.errors import DamagedError
from vbm.ids import ChunkId, PackId, SessionId
from vbm.objectstore.base import ObjectMissingError
from vbm.repository.condemned import Condemned, read_condemned
from vbm.repository.damage import bad_packs
from vbm.repository.format import FormatError, pack_key
from vbm.repository.gc_state import first_seen, is_dead
from vbm.repository.index import INDEX_PREFIX, Entry
from vbm.repository.marks import NeedUnknownError, Usage, among, needed, usage_by_pack, words_of
from vbm.repository.pack import list_packs, read_header, read_table
from vbm.repository.repository import RESTORE_POINTS_PREFIX, Repository
from vbm.repository.sessions import SessionInfo, list_sessions, stray_beats

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
    repack: tuple[PackId, ...] = ()  # little of them is needed, or they hold damage
    copy_bytes: int = 0
    delete: tuple[PackId, ...] = ()
    delete_bytes: int = 0
    spare: tuple[PackId, ...] = ()  # condemned, and needed again
    waiting_bytes: int = 0
    orphans: tuple[str, ...] = ()  # of restore points that were never committed
    dead_sessions: tuple[SessionId, ...] = ()
    live_sessions: tuple[SessionInfo, ...] = ()
    adopt: tuple[PackId, ...] = ()  # of writers that died, and needed: the index is to know them
    stale: tuple[PackId, ...] = ()  # gone, and still named by the index though nothing is missed
    is_unsettled: bool = False  # heartbeats are to be noted, or an earlier pass was cut short

    @property
    def is_empty(self) -> bool:
        return not (
            self.condemn or self.repack or self.delete or self.spare or self.orphans or self.dead_sessions
        )

    @property
    def has_work(self) -> bool:
        """Whether a pass is of use, if only to know by the next one which sessions are dead."""
        return bool(not self.is_empty or self.adopt or self.stale or self.is_unsettled)


class Look:
    """What there is, read in this order: objects of restore points, condemned records, packs, sessions, index, and
    manifests last.

    So whatever lay there without a manifest, and belongs to no session that is alive after that, is nobody's; and a
    restore point committed after the manifests were read is the work of a session that was alive, or came later and
    knew what was condemned. With ``own``, the session of a pass at work, every other that is there counts as alive:
    the dead were dropped before.
    """

    def __init__(
        self, repo: Repository, options: GcOptions, cancel: CancelToken, own: SessionId | None = None
    ) -> None:
        self._repo = repo
        self._options = options
        self._now = repo.clock.now()
        self._objects = [info.key for info in repo.store.list(RESTORE_POINTS_PREFIX)]
        self.records = self._read_records()
        self.sizes = dict(list_packs(repo.store))
        self.bad = bad_packs(repo.store)
        others = [session for session in list_sessions(repo.store, repo.envelope) if session.id != own]
        self.dead = () if own else tuple(session.id for session in dead_of(repo, others))
        self.live = tuple(session for session in others if session.id not in self.dead)
        self._is_noted = {(session.id, session.beat) for session in self.live} <= first_seen(
            repo.store
        ).keys()
        self._read_index()
        self._strays: frozenset[PackId] = frozenset()
        self._unreadable = self._index_strays()
        self.marks = needed(repo, repo.scan(), cancel)
        self.usage = usage_by_pack(repo.index, self.marks)
        self._whole = self._whole_packs()
        self.gone = self._gone_packs()

    def _read_records(self) -> list[Condemned]:
        try:
            return read_condemned(self._repo.store, self._repo.envelope)
        except FormatError as error:
            raise NeedUnknownError(
                error.message,
                hint=f"nothing was removed; if backups verify well, delete the object {error.context['key']}",
            ) from error

    def _read_index(self) -> None:
        there = {info.key for info in self._repo.store.list(INDEX_PREFIX)}
        if self._repo.segment_keys() - there:
            self._repo.reload()  # others have replaced segments: forget the packs that went with them
        else:
            self._repo.refresh()
        if self._repo.damaged_segments:
            key = next(iter(self._repo.damaged_segments))
            raise NeedUnknownError(
                f"{key} is damaged", hint="rebuild the index first: vbm repository repair NAME"
            )

    def _index_strays(self) -> frozenset[PackId]:
        """Packs that no segment names (their writer died, or lives still) are known by their own tables, in memory.

        Those of which not even the table can be read are answered.
        """
        unreadable = set()
        self._strays = frozenset(self.sizes.keys() - self._repo.index.packs())
        for pack in self._strays:
            try:
                self._repo.index.add(read_table(self._repo.store, self._repo.envelope, pack))
            except ObjectMissingError:
                continue
            except DamagedError:
                unreadable.add(pack)
        return frozenset(unreadable)

    def _whole_packs(self) -> frozenset[PackId]:
        """Packs that are there and as long as the index says."""
        ends = self._repo.index.ends()
        return frozenset(pack for pack, size in self.sizes.items() if ends.get(pack, 0) <= size)

    def _gone_packs(self) -> set[PackId]:
        """Packs that the index names and that are not there, neither when they were listed nor now."""
        gone = set()
        for pack in self._repo.index.packs() - self.sizes.keys():
            try:
                self._repo.store.size(pack_key(pack))
            except ObjectMissingError:
                gone.add(pack)
        return gone

    def plan(self) -> GcPlan:
        condemned = {pack for record in self.records for pack in record.packs} & self.sizes.keys()
        spare = self._needed_in(condemned)
        ripe = {pack for record in self.records if self._is_ripe(record) for pack in record.packs} & condemned
        delete = ripe - spare
        strays = {*self._without_live(self._strays - condemned - self._unreadable)}
        adopt = self._needed_in(strays)
        idle = [pack for pack in self.sizes.keys() - condemned if not self._usage(pack).needed_chunks]
        idle += [pack for pack in strays - adopt if self._usage(pack).needed_chunks]  # others hold it all
        condemn = self._without_live(idle)
        kept = self._unreadable if self._unreadable and self._lacks_any() else frozenset()
        condemn = [pack for pack in condemn if pack not in kept]
        repack = self._without_live(
            pack for pack in self.sizes.keys() - condemned - {*idle} if self._is_to_be_rewritten(pack)
        )
        return GcPlan(
            condemn=tuple(sorted(condemn)),
            condemn_bytes=self.bytes_of(condemn),
            repack=tuple(sorted(repack)),
            copy_bytes=sum(self._usage(pack).needed_bytes for pack in repack),
            delete=tuple(sorted(delete)),
            delete_bytes=self.bytes_of(delete),
            spare=tuple(sorted(spare)),
            waiting_bytes=self.bytes_of(condemned - delete - spare),
            orphans=self._orphans(),
            adopt=tuple(sorted(adopt)),
            dead_sessions=self.dead,
            live_sessions=self.live,
            stale=tuple(sorted(self.gone - self._needed_in(self.gone))),
            is_unsettled=not self._is_noted or self._was_cut_short() or bool(stray_beats(self._repo.store)),
        )

    def staying(self, leaving: Collection[PackId]) -> frozenset[PackId]:
        """The packs whose chunks may be relied on when these have gone: there, whole, not condemned, not bad."""
        condemned = {pack for record in self.records for pack in record.packs}
        return self._whole - condemned - self.bad - {*leaving}

    def needed_entries(self, packs: Container[PackId]) -> Iterator[Entry]:
        """The needed chunks of these packs, with their places there."""
        found = self._repo.index.rows()
        names = self._repo.index.pack_names()
        mask = np.fromiter((name in packs for name in names), np.bool_, len(names))
        for ids, rows in found:
            at = np.flatnonzero(mask[rows["pack"]])
            for each in at[among(self.marks, words_of(ids[at]))].tolist():
                yield ChunkId(ids[each].tobytes()), self._repo.index.place(rows[each])

    def _usage(self, pack: PackId) -> Usage:
        return self.usage.get(pack, Usage(0, 0, 0, 0))

    def bytes_of(self, packs: Iterable[PackId]) -> int:
        return sum(self.sizes[pack] for pack in packs)

    def _needed_in(self, packs: set[PackId]) -> set[PackId]:
        """Of packs that do not stay, those with a needed chunk that lies in none that does. Bad ones hold it too."""
        if not packs:
            return set()
        gone = _AllBut(self.staying(packs))
        entries = self._repo.index.rows()
        names = self._repo.index.pack_names()
        mask = np.fromiter((name in packs for name in names), np.bool_, len(names))
        found: set[PackId] = set()
        for ids, rows in entries:
            at = np.flatnonzero(mask[rows["pack"]])
            at = at[among(self.marks, words_of(ids[at]))]
            if len(at):
                alone = at[~self._repo.index.present(ids[at].tobytes(), gone)]
                found |= {names[number] for number in np.unique(rows["pack"][alone]).tolist()}
        return found

    def _lacks_any(self) -> bool:
        """Whether something that is needed is in no pack that is known."""
        known: Any = np.zeros(len(self.marks), np.bool_)
        for ids, _ in self._repo.index.rows():
            known |= among(np.unique(words_of(ids)), self.marks)
        return not known.all()

    def _is_ripe(self, record: Condemned) -> bool:
        if record.sessions is None:
            return False
        old = self._now - parse_rfc3339(record.when) >= self._options.grace
        return old and not set(record.sessions) & {session.id for session in self.live}

    def _without_live(self, packs: Iterable[PackId]) -> list[PackId]:
        """Those that no session made that is still writing: it will need them."""
        live = {session.id for session in self.live}
        return [pack for pack in packs if not live or self._writer_of(pack) not in live]

    def _writer_of(self, pack: PackId) -> SessionId:
        try:
            return read_header(self._repo.store, pack)
        except (DamagedError, ObjectMissingError):
            return SessionId("")

    def _is_to_be_rewritten(self, pack: PackId) -> bool:
        wanted = self._usage(pack).needed_bytes
        return bool(wanted) and (pack in self.bad or wanted < self._options.repack_below * self.sizes[pack])

    def _was_cut_short(self) -> bool:
        """Whether an earlier pass has not said who was writing, or left a record of packs that have gone."""
        return any(r.sessions is None or not self.sizes.keys() >= {*r.packs} for r in self.records)

    def _orphans(self) -> tuple[str, ...]:
        """Maps and files whose manifest does not exist, where nobody could still be about to write it."""
        if self.live:
            return ()
        now = (info.key for info in self._repo.store.list(RESTORE_POINTS_PREFIX))
        committed = {key.removesuffix("manifest.json") for key in now if key.endswith("/manifest.json")}
        return tuple(key for key in self._objects if "/".join(key.split("/")[:3]) + "/" not in committed)


def dead_of(repo: Repository, sessions: Iterable[SessionInfo]) -> list[SessionInfo]:
    """Those of the sessions that nobody writes in any more."""
    seen, now = first_seen(repo.store), repo.clock.now()
    return [s for s in sessions if is_dead(s, seen.get((s.id, s.beat)), now)]


class _AllBut(Container[PackId]):
    def __init__(self, spared: frozenset[PackId]) -> None:
        self._spared = spared

    def __contains__(self, pack: object) -> bool:
        return pack not in self._spared
