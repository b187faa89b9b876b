"""Writer sessions: known while they live, gone when they end, and no stray beats."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures_repo_core import faulty, new_repository
from vbm.clock import VirtualClock
from vbm.errors import TransientError, VbmError
from vbm.objectstore.faulty import FaultyStore
from vbm.repository.envelope import Envelope
from vbm.repository.sessions import SessionLostError, WriterSession, drop_session, list_sessions

ENVELOPE = Envelope(b"m" * 32)


@pytest.fixture
def store(tmp_path: Path) -> FaultyStore:
    return faulty(tmp_path)


@pytest.fixture
def session(store: FaultyStore) -> WriterSession:
    return WriterSession(store, ENVELOPE, VirtualClock(), "backup of web01")


def _keys(store: FaultyStore) -> list[str]:
    return sorted(info.key.rpartition("/")[2] for info in store.inner.list("sessions/"))


def test_a_session_is_known_with_its_owner_and_its_beats_grow(
    store: FaultyStore, session: WriterSession
) -> None:
    [info] = list_sessions(store, ENVELOPE)
    assert (info.id, info.owner, info.beat) == (session.id, "backup of web01", 0)
    session.beat()
    session.beat()
    [info] = list_sessions(store, ENVELOPE)
    assert info.beat == 2
    assert _keys(store) == ["beat-00000002", "start"]
    session.end()
    session.end()
    assert _keys(store) == []


def test_a_session_whose_start_cannot_be_read_still_counts(
    store: FaultyStore, session: WriterSession
) -> None:
    [info] = list_sessions(store, Envelope(b"another key of 32 bytes, indeed!"))
    assert (info.id, info.owner) == (session.id, "unknown")
    session.end()


def test_names_that_are_no_sessions_are_passed_over(store: FaultyStore) -> None:
    for key in ("sessions/x", "sessions/y/beat-zz", "sessions/z/beat-00000001", "sessions/a/b/c"):
        store.put(key, [b""])
    assert list_sessions(store, ENVELOPE) == []


def test_a_dropped_session_is_told_and_beats_no_more(store: FaultyStore, session: WriterSession) -> None:
    drop_session(store, session.id)
    with pytest.raises(SessionLostError):
        session.check()
    session.beat()
    assert _keys(store) == []
    session.end()


@pytest.mark.parametrize("moment", ["before the beat is put", "after the beat is put"])
def test_a_beat_that_races_a_drop_leaves_nothing(
    store: FaultyStore, session: WriterSession, moment: str
) -> None:
    rule = store.on("put", "*/beat-*").once()

    def drop() -> None:
        drop_session(store.inner, session.id)

    rule.call(drop) if moment.startswith("before") else rule.after(drop)
    session.beat()
    assert list_sessions(store, ENVELOPE) == []
    assert _keys(store) == []
    session.end()


def test_a_beat_left_by_a_process_that_died_in_the_race_is_no_session(store: FaultyStore) -> None:
    store.put("sessions/20260101T000000000-aaaaaaaaaa/beat-00000007", [b"beat"])
    assert list_sessions(store, ENVELOPE) == []


def test_beats_go_on_after_one_whose_answer_was_lost(store: FaultyStore, session: WriterSession) -> None:
    store.on("put", "*/beat-*").once().fail_after()
    with pytest.raises(TransientError):
        session.beat()
    session.beat()
    session.beat()
    [info] = list_sessions(store, ENVELOPE)
    assert info.beat == 3
    assert _keys(store) == ["beat-00000003", "start"]
    session.end()


def test_a_session_that_could_not_begin_leaves_nothing(store: FaultyStore) -> None:
    store.on("put", "*/beat-*").full()
    with pytest.raises(VbmError):
        WriterSession(store, ENVELOPE, VirtualClock(), "x")
    assert _keys(store) == []


def test_a_store_out_of_reach_does_not_keep_a_writer_from_ending(store: FaultyStore) -> None:
    repo = new_repository(store)
    writer = repo.writer(owner="x")
    store.on("*").fail()
    writer.abort()
    writer.abort()
