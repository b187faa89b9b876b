"""Writer sessions: who is writing, known to all, from before the first dedup decision to after the commit.

A session is ``sessions/<id>/start`` and one heartbeat ``sessions/<id>/beat-<n>``. Objects are never overwritten:
a beat writes the next number, then removes the one before. That it goes on is seen by the number changing, not by
comparing clocks of different machines.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vbm.clock import Clock, rfc3339
from vbm.errors import VbmError
from vbm.ids import SessionId, new_id
from vbm.objectstore.base import ObjectMissingError, ObjectStore
from vbm.repository.envelope import Envelope

SESSIONS_PREFIX: Final = "sessions/"
BEAT_SECONDS: Final = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One session as seen from outside. ``beat`` grows while its process lives."""

    id: SessionId
    owner: str
    host: str
    pid: int
    started: str
    beat: int
    machine: str = ""


class SessionLostError(VbmError):
    """The session was removed as dead while it was still writing: nothing of it may be committed."""

    code = "session-lost"


class WriterSession:
    """This process's session; a thread beats until ``end``. Thread-safe."""

    def __init__(self, store: ObjectStore, envelope: Envelope, clock: Clock, owner: str) -> None:
        self._store = store
        self.id = SessionId(new_id(clock.now()))
        self._prefix = f"{SESSIONS_PREFIX}{self.id}/"
        document = {
            "owner": owner,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "machine": this_machine(),
            "started": rfc3339(clock.now()),
        }
        start = f"{self._prefix}start"
        self._beat = -1
        self._behind: list[int] = []  # beats that may still lie in the store
        store.put(start, [envelope.seal(start, json.dumps(document).encode())])
        try:
            self._put_beat()
        except VbmError:
            drop_session(store, self.id)
            raise
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"session {self.id}", daemon=True)
        self._thread.start()

    def _beat_key(self, number: int) -> str:
        return f"{self._prefix}beat-{number:08d}"

    def _put_beat(self) -> None:
        """Write the next number: a new one each time, as a put that failed may have had its effect."""
        self._beat += 1
        self._behind.append(self._beat)
        self._store.put(self._beat_key(self._beat), [b"beat"])

    def _run(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                self.beat()
            except VbmError as error:
                _log.warning("the heartbeat of session %s failed: %s", self.id, error)

    def beat(self) -> None:
        """One heartbeat. Leaves nothing behind where the session has been removed by others meanwhile."""
        if not self.alive():
            return
        self._put_beat()
        keep = 1 if self.alive() else 0  # removed before this beat was there to be removed with it
        while len(self._behind) > keep:
            self._store.delete(self._beat_key(self._behind[0]))
            del self._behind[0]

    def alive(self) -> bool:
        """Whether the session is still known to the repository."""
        try:
            self._store.size(f"{self._prefix}start")
        except ObjectMissingError:
            return False
        return True

    def check(self) -> None:
        """Raises SessionLostError where others removed it."""
        if not self.alive():
            raise SessionLostError(
                f"writer session {self.id} was dropped: its heartbeat had stopped",
                hint="run the backup again; what was stored already is not stored twice",
            )

    def end(self) -> None:
        """Stop beating and remove the session. May be called twice."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        with suppress(VbmError):  # a store out of reach: the session goes stale and is dropped by others
            drop_session(self._store, self.id)


def this_machine() -> str:
    """Where process numbers mean the same: one boot of one machine, one PID namespace. Empty where it can't be told.

    Names will not do: cloned machines and containers share them.
    """
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def list_sessions(store: ObjectStore, envelope: Envelope) -> list[SessionInfo]:
    """Every session known, oldest first. One whose start can't be read still counts, with an unknown owner.

    A beat without a start is nobody's: what a process left that died while its session was being dropped.
    """
    beats: dict[str, int] = {}
    started = set()
    for session, name in _names(store):
        number = name.removeprefix("beat-")
        beats[session] = max(beats.get(session, 0), int(number) if number.isdecimal() else 0)
        if name == "start":
            started.add(session)
    return [_session_info(store, envelope, SessionId(name), beats[name]) for name in sorted(started)]


def _names(store: ObjectStore) -> list[tuple[str, str]]:
    """(session, what of it) of every object of sessions."""
    rests = (info.key.removeprefix(SESSIONS_PREFIX).partition("/") for info in store.list(SESSIONS_PREFIX))
    return [(session, name) for session, _, name in rests]


def stray_beats(store: ObjectStore) -> list[str]:
    """The keys of beats that are nobody's. Removing one harms nobody, not even a session that is just beginning."""
    names = _names(store)
    started = {session for session, name in names if name == "start"}
    return [f"{SESSIONS_PREFIX}{session}/{name}" for session, name in names if session not in started]


def _session_info(store: ObjectStore, envelope: Envelope, session: SessionId, beat: int) -> SessionInfo:
    key = f"{SESSIONS_PREFIX}{session}/start"
    try:
        found = json.loads(envelope.open(key, store.get(key)))
        told = (found["owner"], found["host"], found["pid"], found["started"])
        return SessionInfo(session, *told, beat, found.get("machine", ""))
    except (VbmError, ValueError, KeyError, TypeError):
        return SessionInfo(session, "unknown", "", 0, "", beat)


def drop_session(store: ObjectStore, session: SessionId) -> None:
    """Remove a session: its start first, so that its writer can't commit from then on."""
    prefix = f"{SESSIONS_PREFIX}{session}/"
    store.delete(f"{prefix}start")
    for key in [info.key for info in store.list(prefix)]:
        store.delete(key)
