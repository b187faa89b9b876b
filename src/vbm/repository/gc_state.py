"""What garbage collection remembers between passes, in the repository itself: its lock and the heartbeats it saw."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from vbm.clock import parse_rfc3339, rfc3339
from vbm.errors import VbmError
from vbm.ids import SessionId
from vbm.objectstore.base import ObjectExistsError, ObjectMissingError, ObjectStore
from vbm.repository.sessions import SessionInfo

LOCK_KEY: Final = "gc/lock"
_SEEN_PREFIX: Final = "gc/seen/"
STALE_AFTER: Final = timedelta(hours=6)


class GcRunningError(VbmError):
    """Another garbage collection is at work: one at a time."""

    code = "gc-running"


class GcLock:
    """Held by one writer session. A lock whose session is gone is broken."""

    def __init__(self, store: ObjectStore, session: SessionId, live: set[SessionId]) -> None:
        self._store = store
        with suppress(ObjectMissingError):
            holder = SessionId(store.get(LOCK_KEY).decode("ascii", "replace"))
            if holder in live:
                raise GcRunningError(
                    f"{store.url}: garbage collection is running already (session {holder})",
                    hint="wait for it to end; one that died is known as dead after some hours",
                )
            store.delete(LOCK_KEY)
        try:
            store.put(LOCK_KEY, [session.encode()])
        except ObjectExistsError as error:
            raise GcRunningError(f"{store.url}: garbage collection has just begun elsewhere") from error

    def release(self) -> None:
        self._store.delete(LOCK_KEY)


def is_dead(session: SessionInfo, first_seen: datetime | None, now: datetime) -> bool:
    """Its process ran on this machine and is gone, or its heartbeat has stood still for six hours."""
    if session.host == socket.gethostname() and session.pid and not Path(f"/proc/{session.pid}").exists():
        return os.name == "posix" and Path("/proc/self").exists()
    return first_seen is not None and now - first_seen >= STALE_AFTER


def first_seen(store: ObjectStore) -> dict[tuple[SessionId, int], datetime]:
    """When an earlier pass first met each session at each heartbeat."""
    found = {}
    for info in store.list(_SEEN_PREFIX):
        session, _, beat = info.key.removeprefix(_SEEN_PREFIX).rpartition("_")
        with suppress(ValueError, KeyError, ObjectMissingError):
            found[SessionId(session), int(beat)] = parse_rfc3339(json.loads(store.get(info.key))["when"])
    return found


def remember(store: ObjectStore, sessions: list[SessionInfo], now: datetime) -> None:
    """Note the heartbeats of these sessions; forget others and older ones."""
    wanted = {f"{_SEEN_PREFIX}{session.id}_{session.beat}" for session in sessions}
    there = {info.key for info in store.list(_SEEN_PREFIX)}
    for key in there - wanted:
        store.delete(key)
    for key in wanted - there:
        with suppress(ObjectExistsError):
            store.put(key, [json.dumps({"when": rfc3339(now)}).encode()])
