"""How a snapshot's disk is read: the seam behind which datastore-https, nfc and, later, nbd stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vbm.cancel import CancelToken
from vbm.disk.reader import DiskReader
from vbm.errors import VbmError
from vbm.ids import DiskKey


class TransportUnsuitableError(VbmError):
    """This transport can't read this disk at all; another one may. The message says why."""

    code = "transport-unsuitable"


@dataclass(frozen=True, slots=True)
class Capabilities:
    name: str  # "datastore-https", "nfc"
    random_read: bool  # changed areas alone can be read
    parallel_reads: int  # how many threads may read one disk with profit
    range_bytes: int  # the size of read that suits it best


class Transport(Protocol):
    """Opens the disks of one snapshot. Not shared between snapshots; ``close`` releases what it holds."""

    capabilities: Capabilities

    def open(self, disk: DiskKey, cancel: CancelToken) -> DiskReader:
        """A reader of that disk as of the snapshot. Raises TransportUnsuitableError with the reason."""

    def close(self) -> None:
        """End leases and connections. May be called twice."""
