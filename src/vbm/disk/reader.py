"""The seam between whoever has a disk's bytes and whoever wants them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from vbm.disk.extents import Extent

Buffer = bytearray | memoryview


class DiskReader(Protocol):
    """A frozen disk that can be read: the same bytes at each offset for as long as it is open.

    ``random_read`` True: ``readinto`` may be called from several threads at once, at any offset.
    False: one thread, offsets must not go backwards (a stream); skipped ranges are discarded.
    """

    capacity_bytes: int
    random_read: bool

    def extents(self) -> Iterable[Extent]:
        """What the source knows of allocation, ascending, covering the disk: DATA or ZERO.

        A source that knows nothing answers one DATA extent. ZERO is a promise: the range reads as zeros.
        """

    def readinto(self, offset: int, buffer: Buffer) -> None:
        """Fill the whole buffer from ``offset``, or raise: never short. The range lies within capacity."""

    def close(self) -> None:
        """Release connections, leases and files. May be called twice."""
