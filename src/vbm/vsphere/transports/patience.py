"""Answers of an HTTP server that may take their time, but not longer than allowed, and that can be given up.

A blocking read of minutes would make a cancelled run wait for a host that hangs. So the socket is asked in
short turns; between two turns cancellation and the time since the last byte are looked at.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from vbm.cancel import CancelToken
from vbm.clock import Clock

TURN_SECONDS: Final = 0.25
_BUFFER_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Patience:
    """``idle_seconds`` without a byte end a read with TimeoutError; a cancel ends it within a turn."""

    cancel: CancelToken
    clock: Clock
    idle_seconds: float


def ask(
    connection: http.client.HTTPSConnection,
    method: str,
    url: str,
    headers: Mapping[str, str],
    patience: Patience,
) -> http.client.HTTPResponse:
    """Send a request without a body; the answer's head has arrived, reading its body is patient too.

    Raises OSError and http.client.HTTPException as they come, CancelledError.
    """
    if connection.sock is None:
        connection.connect()
    connection.sock.settimeout(patience.idle_seconds)
    connection.request(method, url, headers=dict(headers))
    return answer(connection, patience)


def answer(connection: http.client.HTTPSConnection, patience: Patience) -> http.client.HTTPResponse:
    """The answer to a request that was sent."""
    connection.response_class = partial(_Answer, patience)  # type: ignore[assignment]
    return connection.getresponse()


@contextmanager
def cut_off_on_cancel(connection: http.client.HTTPSConnection, cancel: CancelToken) -> Iterator[None]:
    """A cancel ends the connection within a turn, also under a send that the host does not take.

    Raises CancelledError instead of whatever that breaks.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(TURN_SECONDS):
            if cancel.cancelled and connection.sock is not None:
                with suppress(OSError):  # the plain socket's: the TLS state belongs to the sending thread
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
                return

    watcher = threading.Thread(target=watch, name="cut-off", daemon=True)
    watcher.start()
    try:
        yield
    except Exception:
        cancel.check()
        raise
    finally:
        over.set()
        watcher.join()


class _Answer(http.client.HTTPResponse):
    def __init__(self, patience: Patience, sock: socket.socket, **options: Any) -> None:
        super().__init__(_Source(sock, patience), **options)  # type: ignore[arg-type]


class _Source:
    """What HTTPResponse wants of a socket."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._sock = sock
        self._patience = patience

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Turns(self._sock, self._patience), _BUFFER_BYTES)


class _Turns(io.RawIOBase):
    """Reads in turns. Holds the socket open, by an unused file of it, until closed."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        super().__init__()
        self._sock = sock
        self._hold = sock.makefile("rb", buffering=0)
        self._patience = patience
        sock.settimeout(TURN_SECONDS)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return self._sock.recv_into(buffer)
        except TimeoutError:
            return self._wait_and_read(buffer)

    def _wait_and_read(self, buffer: Any) -> int:
        until = self._patience.clock.monotonic() + self._patience.idle_seconds
        while self._patience.clock.monotonic() < until:
            self._patience.cancel.check()
            try:
                return self._sock.recv_into(buffer)
            except TimeoutError:
                continue
        raise TimeoutError(f"no byte within {self._patience.idle_seconds:.0f} s")

    def close(self) -> None:
        self._hold.close()
        super().close()
