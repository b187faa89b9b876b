"""Small files of a datastore over ``/folder``: VMX, NVRAM, disk descriptors. Never a disk's data."""

from __future__ import annotations

import http.client
from urllib.parse import quote

from vbm.cancel import CancelToken
from vbm.errors import NotFoundError, VbmError
from vbm.retry import retry
from vbm.vsphere.devices import split_path
from vbm.vsphere.faults import BusyError, translate
from vbm.vsphere.session import Session


class FileRefusedError(VbmError):
    """The server does not give this file out; the message has its status."""

    code = "config-file-refused"


class FileTooLargeError(VbmError):
    """The file is larger than anything it could rightly be."""

    code = "config-file-too-large"


def folder_url(path: str, datacenter: str) -> str:
    """``/folder/web/web.vmx?dcPath=…&dsName=…`` of ``[ds] web/web.vmx``: every part percent-encoded.

    ``datacenter`` is the inventory path as the server stores it, escapes kept.
    """
    datastore, relative = split_path(path)
    return f"/folder/{quote(relative)}?dcPath={quote(datacenter, safe='')}&dsName={quote(datastore, safe='')}"


def fetch_small(session: Session, path: str, datacenter: str, limit_bytes: int) -> bytes:
    """The whole file ``[datastore] folder/name``. Tried again while the server is busy or connections break.

    Raises NotFoundError, FileTooLargeError before more than ``limit_bytes`` are read, FileRefusedError.
    """
    url = folder_url(path, datacenter)
    return retry(lambda: _fetch(session, url, path, limit_bytes), session.reads, CancelToken())


def _fetch(session: Session, url: str, path: str, limit_bytes: int) -> bytes:
    try:
        status, body = _get(session, url, session.cookie(), path, limit_bytes)
        if status == 401:  # the session was lost
            status, body = _get(session, url, session.renew(), path, limit_bytes)
    except (OSError, http.client.HTTPException) as error:
        raise translate(error, session.where) from error
    if status == 404:
        raise NotFoundError(f"there is no file {path} in {session.where}")
    if status in (429, 502, 503, 504):
        raise BusyError(f"{session.where} is too busy to give out {path} (HTTP {status})")
    if status != 200:
        raise FileRefusedError(
            f"{session.where} does not give out {path} (HTTP {status})",
            hint="the account needs Datastore.Browse and Datastore.FileManagement on the datastore",
        )
    return body


def _get(session: Session, url: str, cookie: str, path: str, limit_bytes: int) -> tuple[int, bytes]:
    connection = session.http_connection()
    try:
        connection.request("GET", url, headers={"Cookie": cookie, "Accept": "*/*"})
        answer = connection.getresponse()
        if answer.status != 200:
            return answer.status, b""
        if (answer.length or 0) > limit_bytes:
            raise FileTooLargeError(f"{path} has {answer.length} bytes; at most {limit_bytes} are expected")
        body = answer.read(limit_bytes + 1)
        if len(body) > limit_bytes:
            raise FileTooLargeError(f"{path} has more than {limit_bytes} bytes")
        if answer.length:
            raise http.client.IncompleteRead(body, answer.length)
        return 200, body
    finally:
        connection.close()
