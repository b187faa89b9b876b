"""Disks read by exporting the snapshot: one stream of the whole disk, whatever it lies on.

The way for vSAN, virtual volumes and encrypted disks. There is no reading of parts and no resuming: a stream that
breaks is begun again. While the lease is held the VM can't be powered on, migrated or destroyed.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from typing import Final

from vbm.cancel import CancelToken
from vbm.disk.extents import Extent
from vbm.disk.reader import Buffer
from vbm.disk.vmdk.stream_reader import StreamCutShortError, StreamOptimizedReader
from vbm.errors import NotFoundError
from vbm.ids import DiskKey
from vbm.retry import RetryPolicy, retry
from vbm.units import KIB, MIB
from vbm.vsphere.faults import BusyError, UnsupportedCallError, VsphereFaultError, translate
from vbm.vsphere.lease_devices import disk_addresses, match
from vbm.vsphere.model import VirtualMachine, VmSnapshot
from vbm.vsphere.nfc_lease import LeaseAddress, LeaseFailedError, NfcLease, address_of
from vbm.vsphere.properties import properties_of
from vbm.vsphere.session import Session
from vbm.vsphere.transports.base import Capabilities, TransportUnsuitableError
from vbm.vsphere.transports.errors import StreamBrokenError
from vbm.vsphere.transports.patience import Patience, ask

NAME: Final = "nfc"
RANGE_BYTES: Final = 4 * MIB
STREAM_TYPE: Final = "application/x-vnd.vmware-streamVmdk"
_READ_BYTES: Final = 256 * KIB
_IDLE_SECONDS: Final = 120.0
_STARTS: Final = RetryPolicy(attempts=5, first_seconds=1, longest_seconds=30)
_BUSY: Final = frozenset({429, 502, 503, 504})


class NfcReader:
    """A DiskReader of one stream: one thread, offsets only forwards."""

    random_read = False

    def __init__(
        self, stream: http.client.HTTPResponse, connection: http.client.HTTPSConnection, lease: NfcLease
    ) -> None:
        self._stream = stream
        self._connection = connection
        self._lease = lease
        self._disk = StreamOptimizedReader(self._read)
        self.capacity_bytes = self._disk.capacity_bytes
        self.reached = 0  # bytes of the disk

    @property
    def whole(self) -> bool:
        """Whether the stream was read and found right to its end."""
        return self.reached == self.capacity_bytes

    def extents(self) -> Iterator[Extent]:
        return self._disk.extents()

    def readinto(self, offset: int, buffer: Buffer) -> None:
        """Raises StreamBrokenError where the stream ends early: the disk must be opened and read again."""
        try:
            self._disk.readinto(offset, buffer)
        except (StreamCutShortError, StreamBrokenError) as error:
            self._lease.check()
            raise StreamBrokenError(f"the export of a disk broke off: {error.message}") from error
        self.reached = offset + len(buffer)
        self._lease.progress(100 * self.reached // self.capacity_bytes)

    def close(self) -> None:
        self._stream.close()
        self._connection.close()

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(min(size, _READ_BYTES))
        except (OSError, http.client.HTTPException) as error:
            raise StreamBrokenError(str(error) or type(error).__name__) from error


class Nfc:
    """The transport of one snapshot: one lease, begun by the first ``open``, ended by ``close``.

    Disks are opened one after another. ``close`` must come before the snapshot is removed.
    """

    def __init__(
        self,
        session: Session,
        vm: VirtualMachine,
        snapshot: VmSnapshot,
        *,
        starts: RetryPolicy = _STARTS,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        self.capabilities = Capabilities(NAME, random_read=False, parallel_reads=1, range_bytes=RANGE_BYTES)
        self._session = session
        self._vm = vm
        self._snapshot = snapshot
        self._starts = starts
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._lease: NfcLease | None = None
        self._addresses: dict[DiskKey, LeaseAddress] = {}
        self._readers: dict[DiskKey, NfcReader] = {}

    def open(self, disk: DiskKey, cancel: CancelToken) -> NfcReader:
        """Begins the disk's stream. Opening a disk again begins it again.

        Raises TransportUnsuitableError where the export is refused, BusyError, StreamBrokenError, LeaseLostError.
        """
        frozen = next((d for d in self._snapshot.disks if d.key == disk), None)
        if frozen is None:
            raise NotFoundError(f"the snapshot has no disk {disk}")
        with self._lock:
            lease = self._current(cancel)
            if disk not in self._addresses:
                raise TransportUnsuitableError(f"{frozen.label}: the export leaves this disk out")
            if disk in self._readers:
                self._readers.pop(disk).close()
            reader = retry(lambda: self._begin_stream(disk, lease, cancel), self._starts, cancel)
            self._readers[disk] = reader
        if reader.capacity_bytes != frozen.capacity_bytes:
            reader.close()
            raise TransportUnsuitableError(
                f"{frozen.label} has {frozen.capacity_bytes} bytes; the export gives {reader.capacity_bytes}"
            )
        return reader

    def close(self) -> None:
        """Completes the lease if every stream that was opened was read to its end, else aborts it."""
        with self._lock:
            lease, self._lease = self._lease, None
            for reader in self._readers.values():
                reader.close()
        if lease is None:
            return
        if all(reader.whole for reader in self._readers.values()):
            lease.complete()
        else:
            lease.abort()

    def _current(self, cancel: CancelToken) -> NfcLease:
        if self._lease is not None and self._lease.lost:
            self._lease.abort()
            self._lease = None
        if self._lease is None:
            self._lease = self._begin_lease(cancel)
        return self._lease

    def _begin_lease(self, cancel: CancelToken) -> NfcLease:
        snapshot = self._session.snapshot(self._snapshot.moref)
        try:
            reference = retry(
                lambda: self._session.call(lambda _c: snapshot.ExportSnapshot()),
                self._starts,
                cancel,
                transient=lambda e: isinstance(e, BusyError),
            )
            lease = NfcLease.when_ready(self._session, reference, cancel)
        except (VsphereFaultError, UnsupportedCallError, LeaseFailedError) as error:
            raise TransportUnsuitableError(f"{self._vm.name} can't be exported: {error.message}") from error
        try:
            config = properties_of(self._session, snapshot, ["config.hardware.device"])
            addresses = disk_addresses(config.get("config.hardware.device") or ())
            files = match(lease.devices, addresses)
            self._addresses = {key: address_of(file, self._session.endpoint) for key, file in files.items()}
        except BaseException:
            lease.abort()
            raise
        return lease

    def _begin_stream(self, disk: DiskKey, lease: NfcLease, cancel: CancelToken) -> NfcReader:
        address = self._addresses[disk]
        patience = Patience(cancel, self._session.clock, self._idle_seconds)
        connection = self._session.http_connection(address.host, address.port, thumbprint=address.thumbprint)
        try:
            stream = self._get(connection, address, patience)
            return NfcReader(stream, connection, lease)
        except StreamCutShortError as error:
            connection.close()
            lease.check()
            raise StreamBrokenError(f"the export of a disk broke off: {error.message}") from error
        except BaseException:
            connection.close()
            raise

    def _get(
        self, connection: http.client.HTTPSConnection, address: LeaseAddress, patience: Patience
    ) -> http.client.HTTPResponse:
        headers = {"Cookie": self._session.cookie(), "Accept": STREAM_TYPE}
        where = f"{address.host}:{address.port}"
        try:
            stream = ask(connection, "GET", address.path, headers, patience)
        except (OSError, http.client.HTTPException) as error:
            raise translate(error, where) from error
        if stream.status == 200:
            return stream
        stream.close()
        if stream.status == 401:
            self._session.renew()
            raise StreamBrokenError(f"{where} did not know our session")
        if stream.status in _BUSY:
            raise BusyError(f"{where} is too busy to export a disk (HTTP {stream.status})")
        raise TransportUnsuitableError(f"{where} does not export the disk (HTTP {stream.status})")
