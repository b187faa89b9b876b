"""What garbage collection remembers between passes, in the repository itself: its lock and the heartbeats it saw."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from vbm.clock import parse_rfc3339, rfc3339
from vbm.errors import VbmError
from vbm.ids import SessionId
from vbm.objectstore.base import ObjectExistsError, ObjectMissingError, ObjectStore
from vbm.repository.envelope import Envelope
from vbm.repository.sessions import SessionInfo, list_sessions, this_machine

LOCK_PREFIX: Final = "gc/lock"
_SEEN_PREFIX: Final = "gc/seen/"
STALE_AFTER: Final = timedelta(hours=6)


class GcRunningError(VbmError):
    """Another garbage collection is at work: one at a time."""

    code = "gc-running"


class GcLock:
    """Held by one writer session for as long as that lives: ``gc/lock-<n>``, of which the highest number counts.

    Whoever finds the holder gone writes the next number, which one of several can, and removes the lower ones. Nothing
    is removed to free the lock: who removes a lock that he takes for stale may remove the one that came after it.
    """

    def __init__(self, store: ObjectStore, envelope: Envelope, session: SessionId) -> None:
        locks = _locks(store)
        number = max(locks, default=0)
        holder = _holder(store, locks.get(number, ""))
        if holder in {found.id for found in list_sessions(store, envelope)}:  # listed after the lock was read
            raise GcRunningError(
                f"{store.url}: garbage collection is running already (session {holder})",
                hint="wait for it to end; one that died is known as dead after some hours",
            )
        key = f"{LOCK_PREFIX}-{number + 1:08d}"
        try:
            store.put(key, [session.encode()])
        except ObjectExistsError as error:
            raise GcRunningError(f"{store.url}: garbage collection has just begun elsewhere") from error
        if max(_locks(store)) != number + 1:
            store.delete(key)
            raise GcRunningError(f"{store.url}: garbage collection has just begun elsewhere")
        for lower in locks.values():
            store.delete(lower)


def _locks(store: ObjectStore) -> dict[int, str]:
    found = {}
    for info in store.list(LOCK_PREFIX):
        number = info.key.removeprefix(LOCK_PREFIX).removeprefix("-") or "0"
        if number.isdecimal():
            found[int(number)] = info.key
    return found


def _holder(store: ObjectStore, key: str) -> SessionId:
    """Empty where nobody holds it."""
    if not key:
        return SessionId("")
    try:
        return SessionId(store.get(key).decode("ascii", "replace"))
    except ObjectMissingError as error:
        raise GcRunningError(f"{store.url}: garbage collection has just begun elsewhere") from error


def is_dead(session: SessionInfo, first_seen: datetime | None, now: datetime) -> bool:
    """Its process ran on this machine, since it was started, and is gone; or its heart has stood still for hours."""
    machine = this_machine()
    if machine and session.machine == machine and session.pid and not Path(f"/proc/{session.pid}").exists():
        return True
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
