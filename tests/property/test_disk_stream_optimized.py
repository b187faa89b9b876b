"""streamOptimized VMDKs: what is written in one pass is read in one pass, and a cut stream never passes for whole."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vbm.disk.vmdk.errors import VmdkDamagedError, VmdkUnsupportedError
from vbm.disk.vmdk.stream_optimized import StreamOptimizedWriter, encode
from vbm.disk.vmdk.stream_reader import StreamCutShortError, StreamOptimizedReader
from vbm.errors import InputError, VbmError
from vbm.units import GIB, KIB, MIB, TIB

PIECES = st.lists(
    st.tuples(st.integers(0, 400_000), st.integers(1, 300_000), st.integers(0, 255)), max_size=10
)


def written(pieces: list[tuple[int, int, int]], tail: int) -> tuple[bytearray, list[tuple[int, bytes]]]:
    """A disk, and the ascending writes that make it, each a gap after the one before."""
    disk = bytearray()
    writes: list[tuple[int, bytes]] = []
    for gap, length, fill in pieces:
        disk.extend(bytes(gap))
        data = (bytes([fill, fill // 2, 7]) * (length // 3 + 1))[:length]
        writes.append((len(disk), data))
        disk.extend(data)
    disk.extend(bytes(tail))
    disk.extend(bytes(-len(disk) % 512 or (0 if disk else 512)))
    return disk, writes


def drip(stream: bytes, size: int) -> Callable[[int], bytes]:
    """A connection that answers with a few bytes at a time."""
    file = io.BytesIO(stream)
    return lambda most: file.read(min(size, most))


@given(PIECES, st.integers(0, 200_000), st.sampled_from([0, 2]), st.sampled_from([1000, 65_536, 1 << 20]))
@settings(max_examples=40, deadline=None)
def test_round_trip(pieces: list[tuple[int, int, int]], tail: int, threads: int, drop: int) -> None:
    disk, writes = written(pieces, tail)
    stream = b"".join(encode(writes, len(disk), threads=threads))
    assert len(stream) % 512 == 0
    reader = StreamOptimizedReader(drip(stream, drop))
    assert reader.capacity_bytes == len(disk)
    read = bytearray(len(disk))
    for offset in range(0, len(disk), 100_001):
        reader.readinto(offset, memoryview(read)[offset : offset + 100_001])
    assert read == disk
    seen = bytearray(len(disk))
    for offset, grain in StreamOptimizedReader(drip(stream, drop)).grains():
        seen[offset : offset + len(grain)] = grain
    assert seen == disk


@given(PIECES, st.integers(0, 100_000), st.floats(0, 1, exclude_max=True))
@settings(max_examples=40, deadline=None)
def test_a_cut_stream_is_never_whole(pieces: list[tuple[int, int, int]], tail: int, cut: float) -> None:
    disk, writes = written(pieces, tail)
    stream = b"".join(encode(writes, len(disk)))
    short = stream[: int(len(stream) * cut)]
    with pytest.raises(VbmError):
        StreamOptimizedReader(io.BytesIO(short).read).readinto(0, bytearray(len(disk)))


def test_a_stream_without_its_last_sector_is_cut_short() -> None:
    stream = b"".join(encode([(0, b"x" * 100_000)], MIB))
    reader = StreamOptimizedReader(io.BytesIO(stream[:-512]).read)
    with pytest.raises(StreamCutShortError, match="footer"):
        reader.finish()


def test_a_grain_left_out_is_noticed_by_its_table() -> None:
    stream = bytearray(b"".join(encode([(0, bytes(range(256)) * 1024)], MIB)))
    whole = list(StreamOptimizedReader(io.BytesIO(bytes(stream)).read).grains())
    assert len(whole) == 4
    first, second = 128 * 512, _next_sector(stream, 128 * 512)
    third = _next_sector(stream, second)
    del stream[second:third]
    with pytest.raises(VmdkDamagedError, match="did not carry"):
        StreamOptimizedReader(io.BytesIO(bytes(stream)).read).finish()
    assert first < second


def _next_sector(stream: bytearray, place: int) -> int:
    length = int.from_bytes(stream[place + 8 : place + 12], "little")
    return place + -(-(12 + length) // 512) * 512


def test_skipped_ranges_are_discarded_and_going_back_is_refused() -> None:
    stream = b"".join(encode([(MIB, b"y" * MIB)], 4 * MIB))
    reader = StreamOptimizedReader(io.BytesIO(stream).read)
    buffer = bytearray(10)
    reader.readinto(MIB + 70_000, buffer)
    assert buffer == b"y" * 10
    with pytest.raises(InputError):
        reader.readinto(0, buffer)
    reader.finish()
    reader.finish()


def test_disks_of_terabytes_with_data_at_their_ends() -> None:
    capacity = 8 * TIB + 1536
    places = [(0, b"a" * 700), (5 * GIB + 3, b"b" * 100_000), (capacity - 1000, b"c" * 1000)]
    stream = b"".join(encode(places, capacity))
    assert len(stream) < 2 * MIB
    grains = list(StreamOptimizedReader(io.BytesIO(stream).read).grains())
    assert grains[0] == (0, b"a" * 700 + bytes(64 * KIB - 700))
    offset, last = grains[-1]
    assert offset + len(last) == capacity
    assert last.endswith(b"c" * 1000)
    assert b"".join(g for o, g in grains[1:-1]).strip(b"\0") == b"b" * 100_000


def test_the_writer_refuses_what_no_stream_can_be() -> None:
    with pytest.raises(VmdkUnsupportedError):
        StreamOptimizedWriter(lambda _: None, 1000)
    writer = StreamOptimizedWriter(lambda _: None, MIB)
    writer.write(1000, b"abc")
    with pytest.raises(InputError):
        writer.write(1002, b"abc")
    with pytest.raises(InputError):
        writer.write(MIB - 1, b"abc")
    writer.close()
    writer.close()


def test_an_error_of_the_sink_reaches_the_writer() -> None:
    def full(data: bytes) -> None:
        if len(data) > 70_000:
            return
        raise OSError(28, "no space")

    with pytest.raises(OSError, match="no space"):
        StreamOptimizedWriter(full, MIB)
