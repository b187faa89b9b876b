"""Image writers and chains against a bytearray of the same disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vbm.disk.byte_source import FileSource
from vbm.disk.extents import ExtentKind
from vbm.disk.raw import RawDisk, RawWriter
from vbm.disk.vmdk.chain import ChainReader, Format, Layer, Link
from vbm.disk.vmdk.grain_writer import GrainWriter
from vbm.disk.vmdk.se_sparse import SeSparseWriter
from vbm.disk.vmdk.sparse import CowdWriter
from vbm.units import KIB, MIB

BASE_BYTES = 5 * MIB + 1536
Write = tuple[int, int, int]  # position in 1/10000 of the disk, length, fill; fill 0 zeroes
WRITES = st.lists(
    st.tuples(
        st.integers(0, 9_999), st.sampled_from([1, 512, 4096, 5000, 70_000, 2 * MIB]), st.integers(0, 255)
    ),
    max_size=8,
)
WRITERS: dict[Format, type[GrainWriter]] = {Format.COWD: CowdWriter, Format.SE_SPARSE: SeSparseWriter}
LAYER = st.tuples(st.sampled_from(list(WRITERS)), st.integers(0, 3), WRITES)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def placed(write: Write, capacity: int) -> tuple[int, bytes]:
    """Where the write goes and its bytes, which differ from place to place."""
    position, length, fill = write
    offset = capacity * position // 10_000
    length = min(length, capacity - offset)
    if fill == 0:
        return offset, bytes(length)
    pattern = bytes((fill * i + 1) % 251 for i in range(251))
    return offset, (pattern * (length // 251 + 1))[:length]


def contents(reader: RawDisk | ChainReader) -> bytearray:
    buffer = bytearray(reader.capacity_bytes)
    reader.readinto(0, buffer)
    return buffer


def check_extents(reader: RawDisk | ChainReader, model: bytearray) -> None:
    position = 0
    for extent in reader.extents():
        assert extent.start == position
        position = extent.end
        assert extent.kind is ExtentKind.DATA or not any(model[extent.start : extent.end])
    assert position == len(model)


@given(st.lists(WRITES, min_size=1, max_size=2))
@settings(max_examples=30, deadline=None)
def test_a_raw_image_holds_what_was_written(rounds: list[list[Write]]) -> None:
    with folder() as place:
        model = bytearray(BASE_BYTES)
        writer = RawWriter(place / "disk", BASE_BYTES, durable=False)
        for write in [write for writes in rounds for write in writes]:
            offset, data = placed(write, BASE_BYTES)
            writer.write(offset, data)
            model[offset : offset + len(data)] = data
        writer.close()
        reader = RawDisk(place / "disk")
        assert contents(reader) == model
        check_extents(reader, model)
        reader.close()


@given(st.booleans(), st.lists(LAYER, min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_a_chain_reads_as_the_guest_wrote_it(
    flat: bool, layers: list[tuple[Format, int, list[Write]]]
) -> None:
    """Chains of 1 to 5 files, each as large as its parent or larger, some of them without a flat base."""
    with folder() as place:
        model = bytearray(BASE_BYTES)
        links: list[Link] = []
        parent: ChainReader | None = None
        if flat:
            model[:] = (bytes(range(1, 252)) * (BASE_BYTES // 251 + 1))[:BASE_BYTES]
            (place / "base").write_bytes(model)
            links.append(Link(Format.FLAT, FileSource(place / "base"), BASE_BYTES))
            parent = ChainReader(links)
        for number, (kind, grown, writes) in enumerate(layers):
            model.extend(bytes(grown * 300 * KIB))
            writer = WRITERS[kind](place / str(number), len(model), parent=parent)
            live = ChainReader([writer, *links])
            for write in writes:
                play(writer, model, write)
            assert contents(live) == model
            writer.close()
            links.insert(0, Link(kind, FileSource(place / str(number)), len(model)))
            parent = ChainReader(links)
        assert parent is not None
        assert contents(parent) == model
        check_extents(parent, model)
        check_pieces(parent, model)
        parent.close()


def play(writer: GrainWriter, model: bytearray, write: Write) -> None:
    offset, data = placed(write, len(model))
    if write[2] == 0:
        writer.zero(offset, len(data))
    else:
        writer.write(offset, data)
    model[offset : offset + len(data)] = data


def check_pieces(reader: ChainReader, model: bytearray) -> None:
    """Reads at odd places; the segments they consist of lie end to end."""
    for offset in (0, 511, 4095, BASE_BYTES // 2 + 7, len(model) - 100):
        size = min(MIB + 13, len(model) - offset)
        buffer = bytearray(size)
        reader.readinto(offset, buffer)
        assert buffer == model[offset : offset + size]
        position = offset
        for segment in reader.resolve(offset, size):
            assert segment.start == position
            position = segment.end
        assert position == offset + size


@pytest.mark.parametrize("kind", list(WRITERS))
def test_an_extent_opened_again_goes_on(kind: Format, tmp_path: Path) -> None:
    model = bytearray(BASE_BYTES)
    for number in range(4):
        writer = WRITERS[kind](tmp_path / "delta", BASE_BYTES if number == 0 else None)
        for position in range(0, 10_000, 777):
            play(writer, model, (position, 5000, number * 60 + position % 50))
        writer.close()
    layer: Layer = WRITERS[kind](tmp_path / "delta")
    assert contents(ChainReader([layer])) == model
    moved = bytearray(BASE_BYTES)
    for part in layer.changes():  # type: ignore[attr-defined]
        if part.where.value == "data":
            moved[part.start : part.end] = layer.source.read_at(part.file_offset, part.length)
    assert moved == model
