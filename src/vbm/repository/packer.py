"""Chunks into packs, packs into the store: one is filled while at most two are being written and synced."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from vbm.errors import VbmError
from vbm.ids import ChunkId, SessionId
from vbm.objectstore.base import Data, ObjectStore
from vbm.repository.envelope import Envelope
from vbm.repository.format import PACK_BYTES
from vbm.repository.index import Entry
from vbm.repository.pack import PackWriter

_CLOSING: Final = 2


class ChunksNotStoredError(VbmError):
    """Something that this session was given could not be stored, so it can't commit a restore point."""

    code = "chunks-not-stored"


class Packer:
    """Thread-safe. ``written`` is told what each pack holds, once it is durable, by the thread that filled it.

    After any failure nothing more is taken: some of what was added is lost.
    """

    def __init__(
        self,
        store: ObjectStore,
        envelope: Envelope,
        session: SessionId,
        written: Callable[[list[Entry]], None],
    ) -> None:
        self._store = store
        self._envelope = envelope
        self._session = session
        self._written = written
        self._filling: PackWriter | None = None
        self._filling_lock = threading.Lock()
        self._idle = threading.Condition()
        self._closing = 0
        self._failed = False

    def add(self, chunk: ChunkId, content: Data, packed: bool) -> int:
        """Append a chunk, compressed already or not; the bytes it takes. Writes the pack if it is full now."""
        try:
            with self._filling_lock:
                self.check()
                if self._filling is None:
                    self._filling = PackWriter(self._store, self._envelope, self._session)
                stored = self._filling.add(chunk, content, packed)
                full = self._take() if self._filling.size >= PACK_BYTES else None
            if full is not None:
                self._close(full)
        except BaseException:
            self.fail()
            raise
        return stored

    def _take(self) -> PackWriter | None:
        """The pack that is being filled. Waits until one more may be written, so that few are in memory."""
        with self._idle:
            self._idle.wait_for(lambda: self._closing < _CLOSING)
            self._closing += 1
        taken, self._filling = self._filling, None
        return taken

    def _close(self, pack: PackWriter) -> None:
        try:
            self._written(pack.finish())
        finally:
            pack.abort()
            with self._idle:
                self._closing -= 1
                self._idle.notify_all()

    def flush(self) -> None:
        """All that was added is durable when this returns. Raises ChunksNotStoredError, the store's errors."""
        try:
            with self._filling_lock:
                pack = self._take() if self._filling is not None else None
            if pack is not None:
                self._close(pack)
        except BaseException:
            self.fail()
            raise
        with self._idle:
            self._idle.wait_for(lambda: not self._closing)
        self.check()

    def check(self) -> None:
        """Raises ChunksNotStoredError where something was lost before."""
        if self._failed:
            raise ChunksNotStoredError(
                "a chunk could not be stored", hint="run the backup again; what was stored is kept"
            )

    def fail(self) -> None:
        """Something given to the session is lost: take nothing more."""
        self._failed = True

    def abort(self) -> None:
        """Leave the unfinished pack. Nothing may be added afterwards."""
        self.fail()
        with self._filling_lock:
            pack, self._filling = self._filling, None
        if pack is not None:
            pack.abort()
