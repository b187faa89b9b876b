"""A small client of the REST API: typed, cautious, standard library and httpx alone.

    from vbm.client import Client, Server

    with Client(Server.from_environment()) as server:      # VBM_SERVER, VBM_API_KEY
        for run in server.runs(state=["failed"]):
            print(run["vm"], run["error"])

Thread-safe. Every error is a ``vbm.errors.VbmError`` with the server's code, message and hint.
"""

from vbm.client.api import Client
from vbm.client.documents import Execution, Job, LogLine, Point, Run, Vm
from vbm.client.server import Server
from vbm.client.transport import NotThisProductError, ServerUnreachableError, ServerUntrustedError

__all__ = [
    "Client",
    "Execution",
    "Job",
    "LogLine",
    "NotThisProductError",
    "Point",
    "Run",
    "Server",
    "ServerUnreachableError",
    "ServerUntrustedError",
    "Vm",
]
