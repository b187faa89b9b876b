"""How a disk is cut into chunks: fixed size, aligned to offset 0; the last one may be short."""

from __future__ import annotations

from dataclasses import dataclass

from vbm.disk.extents import Extent


@dataclass(frozen=True, slots=True)
class Geometry:
    """Chunk ``i`` holds bytes ``[i * chunk_bytes, min((i + 1) * chunk_bytes, capacity_bytes))``."""

    capacity_bytes: int
    chunk_bytes: int

    @property
    def count(self) -> int:
        return -(-self.capacity_bytes // self.chunk_bytes)

    def start(self, chunk: int) -> int:
        return chunk * self.chunk_bytes

    def end(self, chunk: int) -> int:
        return min((chunk + 1) * self.chunk_bytes, self.capacity_bytes)

    def length(self, chunk: int) -> int:
        return self.end(chunk) - self.start(chunk)

    def run(self, first: int, count: int) -> Extent:
        """The bytes of ``count`` > 0 chunks from ``first`` on."""
        start = self.start(first)
        return Extent(start, self.end(first + count - 1) - start)
