"""One disk into an import lease: its streamOptimized form, made while it is sent."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from vbm.cancel import CancelToken
from vbm.disk.extents import ExtentKind, coalesce
from vbm.disk.reader import DiskReader
from vbm.disk.vmdk.stream_optimized import encode
from vbm.errors import VbmError
from vbm.units import MIB
from vbm.vsphere.faults import BusyError, ConnectionLostError, translate
from vbm.vsphere.nfc_lease import LeaseAddress, LeaseDevice, LeaseFailedError, NfcLease
from vbm.vsphere.restore_spec import UploadDamagedError
from vbm.vsphere.session import Session
from vbm.vsphere.transports.patience import Patience, answer, cut_off_on_cancel

_STREAM_TYPE: Final = "application/x-vnd.vmware-streamVmdk"
_PIECE_BYTES: Final = 4 * MIB
_DEFLATE_THREADS: Final = 2
_IDLE_SECONDS: Final = 180.0
_BUSY: Final = frozenset({429, 502, 503, 504})

OnBytes = Callable[[int], None]  # bytes of the disk that were sent since the last call


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What went over the wire."""

    size_bytes: int
    sha1: str


def pieces(reader: DiskReader, on_bytes: OnBytes, cancel: CancelToken) -> Iterator[tuple[int, memoryview]]:
    """The disk's data, ascending, in one reused buffer; what reads as zeros is left out."""
    buffer = memoryview(bytearray(min(_PIECE_BYTES, max(reader.capacity_bytes, 1))))
    for extent in coalesce(reader.extents()):
        if extent.kind is ExtentKind.ZERO:
            continue
        for offset in range(extent.start, extent.end, len(buffer)):
            cancel.check()
            part = buffer[: min(len(buffer), extent.end - offset)]
            reader.readinto(offset, part)
            yield offset, part
            on_bytes(len(part))


def upload(
    session: Session,
    lease: NfcLease,
    address: LeaseAddress,
    reader: DiskReader,
    on_bytes: OnBytes,
    cancel: CancelToken,
) -> Uploaded:
    """POST the disk. Can't be resumed: after an error the lease is of no more use.

    Raises LeaseLostError, ConnectionLostError, BusyError, LeaseFailedError, CancelledError and the reader's errors.
    """
    connection = session.http_connection(address.host, address.port, thumbprint=address.thumbprint)
    body = _Body(reader, on_bytes, cancel, lease)
    try:
        with cut_off_on_cancel(connection, cancel):
            status = _post(session, connection, address, body, cancel)
    finally:
        connection.close()
    where = f"{address.host}:{address.port}"
    if status in (200, 201):
        return Uploaded(body.size_bytes, body.sha1.hexdigest())
    lease.check()
    if status in _BUSY:
        raise BusyError(f"{where} is too busy to take a disk (HTTP {status})")
    raise LeaseFailedError(f"{where} does not take the disk (HTTP {status})")


class _Body:
    """The chunks of the request, counted and hashed as they go."""

    def __init__(self, reader: DiskReader, on_bytes: OnBytes, cancel: CancelToken, lease: NfcLease) -> None:
        self._stream = encode(
            pieces(reader, on_bytes, cancel), reader.capacity_bytes, threads=_DEFLATE_THREADS
        )
        self._lease = lease
        self.sha1 = hashlib.sha1(usedforsecurity=False)
        self.size_bytes = 0
        self.failure: VbmError | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            for part in self._stream:
                self._lease.check()
                if part:
                    self.sha1.update(part)
                    self.size_bytes += len(part)
                    yield part
        finally:
            self._stream.close()  # type: ignore[attr-defined]


def _post(
    session: Session,
    connection: http.client.HTTPSConnection,
    address: LeaseAddress,
    body: _Body,
    cancel: CancelToken,
) -> int:
    headers = {
        "Cookie": session.cookie(),
        "Content-Type": _STREAM_TYPE,
        "Transfer-Encoding": "chunked",
        "Connection": "keep-alive",
    }
    where = f"{address.host}:{address.port}"
    patience = Patience(cancel, session.clock, _IDLE_SECONDS)
    broken: BaseException | None = None
    try:
        connection.request("POST", address.path, body=body, headers=headers, encode_chunked=True)
    except (OSError, http.client.HTTPException) as error:
        broken = error  # the server may have answered before it hung up
    try:
        reply = answer(connection, patience)
        reply.read(64 * 1024)
    except (OSError, http.client.HTTPException) as error:
        raise translate(broken or error, where) from error
    if broken is not None and reply.status in (200, 201):
        raise ConnectionLostError(f"the connection to {where} broke: {broken}") from broken
    return reply.status


def check_manifest(entries: list[Any], devices: dict[str, LeaseDevice], sent: dict[str, Uploaded]) -> int:
    """Compare what the server says with what was sent, by the devices' keys; how many could be compared.

    Only where the server counted the same bytes: some tell of the disk as stored, not as received.
    """
    compared = 0
    for name, done in sent.items():
        device = devices[name]
        entry = next((e for e in entries if e.key in (device.key, device.import_key)), None)
        if entry is None or entry.size != done.size_bytes or not entry.sha1:
            continue
        compared += 1
        if entry.sha1.lower() != done.sha1:
            raise UploadDamagedError(
                f"the server received other bytes of {device.target or device.key} than were sent",
                hint="something between here and the host changes data; the restored VM was removed",
            )
    return compared
