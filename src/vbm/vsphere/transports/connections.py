"""Open HTTPS connections that wait to be used again."""

from __future__ import annotations

import http.client
import threading
from typing import Final

from vbm.vsphere.transports.routes import Route

_MOST_IDLE: Final = 8

Connection = http.client.HTTPSConnection


class ConnectionPool:
    """Connections of one route. Thread-safe; how many are in use is the host gate's business, not its."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False

    def take(self) -> tuple[Connection, bool]:
        """A connection, and whether it was used before (so the server may have closed it meanwhile)."""
        with self._lock:
            if self._idle:
                return self._idle.pop(), True
        return self.route.connection(), False

    def give_back(self, connection: Connection) -> None:
        """For the next one. Only after an answer was read to its end."""
        with self._lock:
            if connection.sock is not None and not self._closed and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Closes what is idle; what is in use is closed when it is given back. May be called twice."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
