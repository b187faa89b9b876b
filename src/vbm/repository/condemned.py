"""Condemned packs: what a garbage collection means to delete. Writers treat their chunks as absent."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from vbm.ids import PackId
from vbm.objectstore.base import ObjectStore
from vbm.repository.envelope import Envelope
from vbm.repository.format import FormatError

CONDEMNED_PREFIX: Final = "condemned/"


@dataclass(frozen=True, slots=True)
class Condemned:
    """One pass's record: ``id`` sorts by time, ``when`` is RFC 3339 by the clock of who wrote it."""

    id: str
    when: str
    packs: tuple[PackId, ...]


def write_condemned(store: ObjectStore, envelope: Envelope, record: Condemned) -> None:
    """Durable when this returns; from then on it holds for every writer that looks."""
    key = f"{CONDEMNED_PREFIX}{record.id}"
    document = {"when": record.when, "packs": list(record.packs)}
    store.put(key, [envelope.seal(key, json.dumps(document).encode())])


def read_condemned(store: ObjectStore, envelope: Envelope) -> list[Condemned]:
    """Every record, oldest first. Raises FormatError for a damaged one: what it names can't be guessed."""
    keys = sorted(info.key for info in store.list(CONDEMNED_PREFIX))
    return [_read(store, envelope, key) for key in keys]


def _read(store: ObjectStore, envelope: Envelope, key: str) -> Condemned:
    try:
        document = json.loads(envelope.open(key, store.get(key)))
        packs = tuple(PackId(pack) for pack in document["packs"])
        return Condemned(key.removeprefix(CONDEMNED_PREFIX), document["when"], packs)
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{key} is damaged: {error}", key=key) from error


def condemned_packs(records: Iterable[Condemned]) -> frozenset[PackId]:
    return frozenset(pack for record in records for pack in record.packs)
