"""Copies of the product's own database, kept in the repository: a lost machine is built again from it.

A copy is some sealed pieces ``catalog/<id>/<number>`` and, written last, their count in ``catalog/<id>/end``: a copy
without its end was cut short and is no copy. Its id is ``<installation>-<time>-<random>``: those of one installation
sort by time. Secrets in it stay sealed by the installation's master key, which is never part of it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

from vbm.objectstore.base import ObjectMissingError, ObjectStore
from vbm.repository.envelope import Envelope
from vbm.repository.format import SAFE_SEGMENT, FormatError
from vbm.units import MIB

COPIES_PREFIX: Final = "catalog/"
KEPT: Final = 7
_PIECE_BYTES: Final = 8 * MIB
_END: Final = "end"


def write_copy(store: ObjectStore, envelope: Envelope, copy_id: str, database: Path) -> int:
    """Store the file as that copy, durable when this returns its size in bytes.

    Older ones of the same installation go, but for the last KEPT. One process at a time may copy for an installation.
    """
    digest, count, size = hashlib.sha256(), 0, 0
    with database.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
            key = f"{COPIES_PREFIX}{copy_id}/{count}"
            store.put(key, [envelope.seal(key, piece)])
            count, size = count + 1, size + len(piece)
    key = f"{COPIES_PREFIX}{copy_id}/{_END}"
    end = {"pieces": count, "bytes": size, "sha256": digest.hexdigest()}
    store.put(key, [envelope.seal(key, json.dumps(end).encode())])
    _drop_old(store, installation_of(copy_id))
    return size


def installation_of(copy_id: str) -> str:
    return copy_id.partition("-")[0]


def copies(store: ObjectStore) -> list[str]:
    """The ids of whole copies, those of one installation together, oldest first."""
    names = (info.key.removeprefix(COPIES_PREFIX).split("/") for info in store.list(COPIES_PREFIX))
    return sorted(n[0] for n in names if len(n) == 2 and n[1] == _END and SAFE_SEGMENT.fullmatch(n[0]))


def read_copy(store: ObjectStore, envelope: Envelope, copy_id: str, output: Path) -> int:
    """Write the database of that copy to a new file; its size. Raises FormatError where it is damaged."""
    key = f"{COPIES_PREFIX}{copy_id}/{_END}"
    end = json.loads(envelope.open(key, store.get(key)))
    digest = hashlib.sha256()
    with output.open("xb") as file:
        for number in range(int(end["pieces"])):
            piece = _piece(store, envelope, f"{COPIES_PREFIX}{copy_id}/{number}")
            digest.update(piece)
            file.write(piece)
    if digest.hexdigest() != end["sha256"]:
        raise FormatError(f"the copy {copy_id} of the catalog is damaged", key=key)
    return int(end["bytes"])


def _piece(store: ObjectStore, envelope: Envelope, key: str) -> bytes:
    try:
        return envelope.open(key, store.get(key))
    except ObjectMissingError as error:
        raise FormatError(f"{key} is missing", key=key) from error


def _drop_old(store: ObjectStore, installation: str) -> None:
    """The ends go first, so that a copy is never whole in name only; pieces of cut-short copies go too."""
    kept = [copy for copy in copies(store) if installation_of(copy) == installation][-KEPT:]
    mine = [info.key for info in store.list(f"{COPIES_PREFIX}{installation}-")]
    old = [key for key in mine if key.split("/")[1] not in kept]
    for key in sorted(old, key=lambda key: not key.endswith(f"/{_END}")):
        store.delete(key)
