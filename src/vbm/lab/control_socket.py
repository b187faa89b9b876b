"""``DIR/control.sock``: how other processes reach a lab that is being served. One JSON line each way."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vbm.errors import VbmError
from vbm.lab import commands
from vbm.lab.model import LabFault

if TYPE_CHECKING:
    from vbm.lab.server import Lab

_LINE_BYTES = 1 << 20


class ControlSocket:
    """Listens on a unix socket that only its owner may open."""

    def __init__(self, path: Path, lab: Lab) -> None:
        self._path = path
        self._lab = lab
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._listen, name="lab-control", daemon=True)

    def start(self) -> None:
        self._path.unlink(missing_ok=True)
        with _short(self._path) as name:
            self._socket.bind(name)
        self._path.chmod(0o600)
        self._socket.listen(16)
        self._thread.start()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError), connection.makefile("rwb") as stream:
            line = stream.readline(_LINE_BYTES)
            reply = self._reply(line)
            stream.write(json.dumps(reply).encode() + b"\n")

    def _reply(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            return {
                "result": commands.run(self._lab.state, request["command"], request["arguments"], self._lab)
            }
        except VbmError as error:
            return {"error": {"message": error.message, "hint": error.hint, "kind": error.kind.name}}
        except LabFault as error:
            return {"error": {"message": str(error), "hint": "", "kind": "FAILED"}}
        except (ValueError, KeyError, TypeError) as error:
            return {"error": {"message": f"not a request: {error}", "hint": "", "kind": "INPUT"}}


@contextlib.contextmanager
def _short(path: Path) -> Any:
    """A name of the socket that fits into 108 bytes, whatever the folder is called."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


def ask(path: Path, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The reply of the server behind the socket. Raises OSError where none is listening."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        with _short(path) as name:
            connection.connect(name)
        with connection.makefile("rwb") as stream:
            stream.write(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
            stream.flush()
            line = stream.readline()
    reply: dict[str, Any] = json.loads(
        line or b'{"error": {"message": "no answer", "hint": "", "kind": "FAILED"}}'
    )
    return reply
