"""Files onto a datastore over ``/folder``: one PUT each, its length said first, nothing resumed."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Iterator
from typing import Final

from vbm.cancel import CancelToken
from vbm.errors import NotAllowedError, VbmError
from vbm.units import MIB
from vbm.vsphere.datastore_path import DatastorePath
from vbm.vsphere.faults import BusyError, ConnectionLostError, NoSpaceError, translate
from vbm.vsphere.session import Session
from vbm.vsphere.transports.patience import Patience, answer, cut_off_on_cancel

_IDLE_SECONDS: Final = 180.0
_BUSY: Final = frozenset({429, 502, 503, 504})
_PIECE_BYTES: Final = 1 * MIB


class UploadRefusedError(VbmError):
    """The server does not take the file."""

    code = "datastore-upload-refused"


def put_bytes(
    session: Session, path: DatastorePath, datacenter: str, content: bytes, cancel: CancelToken
) -> None:
    """A small file, replacing one of that name."""
    parts = (content[i : i + _PIECE_BYTES] for i in range(0, len(content), _PIECE_BYTES))
    put(session, path, datacenter, parts, len(content), cancel)


def put(
    session: Session,
    path: DatastorePath,
    datacenter: str,
    parts: Iterable[bytes | memoryview],
    size_bytes: int,
    cancel: CancelToken,
) -> None:
    """A file of exactly that size, replacing one of that name.

    Raises NotAllowedError, NoSpaceError, BusyError, ConnectionLostError, UploadRefusedError, CancelledError.
    """
    session.renew()  # a session that ends while gigabytes are under way would cost them
    connection = session.http_connection()
    headers = {
        "Cookie": session.cookie(),
        "Content-Type": "application/octet-stream",
        "Content-Length": str(size_bytes),
    }
    try:
        with cut_off_on_cancel(connection, cancel):
            status = _send(
                session, connection, path.url(datacenter), headers, _checked(parts, cancel), cancel
            )
    finally:
        connection.close()
    if status in (200, 201, 204):
        return
    what = f"{session.where} does not take {path} (HTTP {status})"
    if status in (401, 403):
        raise NotAllowedError(
            what, hint="the account needs Datastore.FileManagement (low level file operations) there"
        )
    if status == 507:
        raise NoSpaceError(what, hint="free space on the datastore")
    if status in _BUSY:
        raise BusyError(what)
    raise UploadRefusedError(what)


def _checked(parts: Iterable[bytes | memoryview], cancel: CancelToken) -> Iterator[bytes | memoryview]:
    for part in parts:
        cancel.check()
        yield part


def _send(
    session: Session,
    connection: http.client.HTTPSConnection,
    url: str,
    headers: dict[str, str],
    body: Iterator[bytes | memoryview],
    cancel: CancelToken,
) -> int:
    broken: BaseException | None = None
    try:
        connection.request("PUT", url, body=body, headers=headers)
    except (OSError, http.client.HTTPException) as error:
        broken = error  # the server may have answered before it hung up
    try:
        reply = answer(connection, Patience(cancel, session.clock, _IDLE_SECONDS))
        reply.read(64 * 1024)
    except (OSError, http.client.HTTPException) as error:
        raise translate(broken or error, session.where) from error
    if broken is not None and reply.status < 300:
        raise ConnectionLostError(f"the connection to {session.where} broke: {broken}") from broken
    return reply.status
