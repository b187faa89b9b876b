"""Condemned packs: what a garbage collection means to delete. Writers treat their chunks as absent.

A record holds its sealed content twice, so that damage in one place leaves it readable. Where both are damaged
nobody knows which packs it names: a writer then relies on none that it did not write itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from vbm.ids import PackId, SessionId
from vbm.objectstore.base import ObjectMissingError, ObjectStore
from vbm.repository.envelope import Envelope
from vbm.repository.format import FormatError

CONDEMNED_PREFIX: Final = "condemned/"
_ATTEMPTS: Final = 8


@dataclass(frozen=True, slots=True)
class Condemned:
    """One pass's record: ``id`` sorts by time, ``when`` is RFC 3339 by the clock of who wrote it.

    ``sessions`` were writing just after it was written: until the last of them has ended nothing of it may be
    deleted. None: not known yet, so that nothing of it may be deleted at all.
    """

    id: str
    when: str
    packs: tuple[PackId, ...]
    sessions: tuple[SessionId, ...] | None = ()


def write_condemned(store: ObjectStore, envelope: Envelope, record: Condemned) -> None:
    """Durable when this returns; from then on it holds for every writer that looks."""
    key = f"{CONDEMNED_PREFIX}{record.id}"
    sessions = None if record.sessions is None else list(record.sessions)
    document = {"when": record.when, "packs": list(record.packs), "sessions": sessions}
    sealed = envelope.seal(key, json.dumps(document).encode())
    store.put(key, [sealed, sealed])


def read_condemned(store: ObjectStore, envelope: Envelope) -> list[Condemned]:
    """Every record, oldest first. Raises FormatError for a damaged one: what it names can't be guessed."""
    records, damaged = known_condemned(store, envelope)
    if damaged:
        raise damaged[0]
    return records


def known_condemned(store: ObjectStore, envelope: Envelope) -> tuple[list[Condemned], list[FormatError]]:
    """Every readable record, oldest first, and what is wrong with the others.

    A record may be replaced by another while the listing goes on, which then shows neither: so they are listed
    until two listings say the same.
    """
    keys = _keys(store)
    for _ in range(_ATTEMPTS):
        records, damaged = _known(store, envelope, keys)
        before, keys = keys, _keys(store)
        if keys == before:
            break
    return records, damaged


def _keys(store: ObjectStore) -> list[str]:
    return sorted(info.key for info in store.list(CONDEMNED_PREFIX))


def _known(
    store: ObjectStore, envelope: Envelope, keys: list[str]
) -> tuple[list[Condemned], list[FormatError]]:
    records, damaged = [], []
    for key in keys:
        try:
            records.append(_read(store, envelope, key))
        except ObjectMissingError:
            continue  # its pass has ended, or it was replaced
        except FormatError as error:
            damaged.append(error)
    return records, damaged


def _read(store: ObjectStore, envelope: Envelope, key: str) -> Condemned:
    try:
        document = json.loads(_opened(envelope, key, store.get(key)))
        packs = tuple(PackId(pack) for pack in document["packs"])
        named = document["sessions"]
        sessions = None if named is None else tuple(SessionId(session) for session in named)
        return Condemned(key.removeprefix(CONDEMNED_PREFIX), document["when"], packs, sessions)
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{key} is damaged: {error}", key=key) from error


def _opened(envelope: Envelope, key: str, stored: bytes) -> bytes:
    half = len(stored) // 2
    try:
        return envelope.open(key, stored[:half])
    except FormatError:
        return envelope.open(key, stored[half:])


def condemned_packs(records: Iterable[Condemned]) -> frozenset[PackId]:
    return frozenset(pack for record in records for pack in record.packs)
