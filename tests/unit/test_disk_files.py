"""Raw and other image files at their edges, and how few reads a chain needs."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from vbm.disk.byte_source import BytesSource, FileSource, SourceCutShortError
from vbm.disk.extents import Extent, ExtentKind
from vbm.disk.image_writer import open_image_writer
from vbm.disk.raw import ImageWriteError, RawDisk, RawWriter
from vbm.disk.reader import Buffer
from vbm.disk.vmdk.chain import ChainReader, Format, Link
from vbm.disk.vmdk.errors import VmdkUnsupportedError
from vbm.disk.vmdk.local_chain import open_local_chain
from vbm.disk.vmdk.se_sparse import SeSparseReader, SeSparseWriter
from vbm.disk.vmdk.sparse import CowdReader, CowdWriter
from vbm.errors import InputError, NotFoundError
from vbm.units import KIB, MIB, TIB


class CountingSource(BytesSource):
    """Bytes in memory that count how often and how much is asked of them."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads: list[int] = []

    def read_at(self, offset: int, length: int) -> bytes:
        self.reads.append(length)
        return super().read_at(offset, length)


def test_a_delta_of_many_small_pieces_takes_few_reads(tmp_path: Path) -> None:
    base = bytes(range(1, 252)) * (8 * MIB // 251 + 1)
    base = base[: 8 * MIB]
    model = bytearray(base)
    writer = CowdWriter(tmp_path / "delta", 8 * MIB)
    order = [n * 7919 % 800 for n in range(800)]  # as a guest writes: all over the disk
    for number in order:
        writer.write(number * 10 * KIB, b"%03d." % number * 128)
        model[number * 10 * KIB : number * 10 * KIB + 512] = b"%03d." % number * 128
    writer.close()
    flat, delta = CountingSource(base), CountingSource((tmp_path / "delta").read_bytes())
    reader = ChainReader([Link(Format.COWD, delta, 8 * MIB), Link(Format.FLAT, flat, 8 * MIB)])
    buffer = bytearray(8 * MIB)
    reader.readinto(0, buffer)
    assert buffer == model
    assert len(flat.reads) == 1
    assert len(delta.reads) <= 12
    reader.readinto(MIB, bytearray(MIB))
    assert len(flat.reads) == 2
    assert len(delta.reads) <= 14  # the tables are known by now


def test_an_eight_terabyte_delta_is_mapped_without_reading_what_is_not_there(tmp_path: Path) -> None:
    writer = SeSparseWriter(tmp_path / "delta", 8 * TIB)
    places = [0, 3 * TIB + 4096, 8 * TIB - 512]
    for offset in places:
        writer.write(offset, b"x" * 512)
    writer.close()
    assert (tmp_path / "delta").stat().st_blocks * 512 < 2 * MIB
    reader = ChainReader([Link(Format.SE_SPARSE, FileSource(tmp_path / "delta"), 8 * TIB)])
    data = [extent for extent in reader.extents() if extent.kind is ExtentKind.DATA]
    assert [extent.start for extent in data] == [offset // 4096 * 4096 for offset in places]
    reader.close()
    reader.close()


def test_a_flat_base_is_data_and_what_it_was_grown_by_is_not(tmp_path: Path) -> None:
    writer = CowdWriter(tmp_path / "delta", 4 * MIB)
    writer.write(3 * MIB, b"x" * 512)
    writer.close()
    delta = FileSource(tmp_path / "delta")
    chain = ChainReader([Link(Format.COWD, delta, 4 * MIB), Link(Format.FLAT, BytesSource(bytes(MIB)), MIB)])
    assert list(chain.extents()) == [
        Extent(0, MIB),
        Extent(MIB, 2 * MIB, ExtentKind.ZERO),
        Extent(3 * MIB, 512),
        Extent(3 * MIB + 512, MIB - 512, ExtentKind.ZERO),
    ]
    assert [segment.link for segment in chain.resolve(0, 4 * MIB)] == [1, None, 0, None]
    chain.close()


def test_a_chain_is_read_by_several_threads_at_once(tmp_path: Path) -> None:
    model = bytearray(16 * MIB)
    writer = SeSparseWriter(tmp_path / "delta", len(model))
    for number in range(500):
        offset = number * 7919 % 4000 * 4096
        writer.write(offset, b"%04d" % number * 500)
        model[offset : offset + 2000] = b"%04d" % number * 500
    writer.close()
    chain = ChainReader([Link(Format.SE_SPARSE, FileSource(tmp_path / "delta"), len(model))])
    wrong: list[int] = []

    def read(first: int) -> None:
        for offset in range(first, len(model), 300_000):
            buffer = bytearray(min(300_000, len(model) - offset))
            chain.readinto(offset, buffer)
            if buffer != model[offset : offset + len(buffer)]:
                wrong.append(offset)

    threads = [threading.Thread(target=read, args=(n * 1000,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    chain.close()
    assert wrong == []


@pytest.mark.parametrize("writer_type", [CowdWriter, SeSparseWriter])
def test_a_delta_extent_is_opened_as_what_it_is(
    writer_type: type[CowdWriter | SeSparseWriter], tmp_path: Path
) -> None:
    with pytest.raises(VmdkUnsupportedError, match="capacity"):
        writer_type(tmp_path / "delta")
    writer_type(tmp_path / "delta", MIB).close()
    with pytest.raises(VmdkUnsupportedError):
        writer_type(tmp_path / "delta", 2 * MIB)
    wrong = CowdReader if writer_type is SeSparseWriter else SeSparseReader
    with pytest.raises(VmdkUnsupportedError):
        wrong(FileSourceOf(tmp_path / "delta"))


class FileSourceOf(BytesSource):
    """A file's bytes, with nothing left open."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.read_bytes())


def test_a_vmfs_sparse_extent_ends_at_two_terabytes(tmp_path: Path) -> None:
    with pytest.raises(VmdkUnsupportedError, match="2 TiB"):
        CowdWriter(tmp_path / "delta", 2 * TIB)


@pytest.mark.parametrize("image_format", ["raw", "qcow2", "vmdk"])
def test_images_replace_nothing_unless_told_and_leave_nothing_when_given_up(
    image_format: str, tmp_path: Path
) -> None:
    path = tmp_path / "image"
    writer = open_image_writer(image_format, path, MIB)
    writer.write(5, b"abc")
    with pytest.raises(InputError):
        writer.write(MIB - 1, b"abc")
    with pytest.raises(InputError):
        writer.write(-1, b"abc")
    writer.discard()
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match="exists"):
        open_image_writer(image_format, path, MIB)
    assert path.read_bytes() == b"precious"
    writer = open_image_writer(image_format, path, MIB, overwrite=True)
    writer.close()
    writer.close()
    writer.discard()
    assert path.read_bytes() != b"precious"


def test_images_that_can_not_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vhd"):
        open_image_writer("vhd", tmp_path / "x", MIB)
    with pytest.raises(InputError):
        open_image_writer("qcow2", tmp_path / "x", 1000)
    with pytest.raises(InputError, match="ordinary"):
        RawWriter(Path("/dev/null"), MIB, overwrite=True)
    with pytest.raises(InputError, match="create"):
        RawWriter(tmp_path / "no" / "folder", MIB)
    with pytest.raises(ImageWriteError):
        RawWriter(tmp_path / "large", 1 << 62)
    assert list(tmp_path.iterdir()) == []


def test_zeros_over_data_are_written_and_over_holes_are_not(tmp_path: Path) -> None:
    writer = RawWriter(tmp_path / "disk", 4 * MIB)
    writer.write(0, b"x" * MIB)
    writer.write(0, bytes(2 * MIB))
    writer.close()
    assert (tmp_path / "disk").read_bytes() == bytes(4 * MIB)
    assert (tmp_path / "disk").stat().st_blocks * 512 <= MIB + 64 * KIB


def test_files_that_are_missing_or_end_early(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        RawDisk(tmp_path / "none")
    with pytest.raises(InputError, match="folder"):
        FileSource(tmp_path)
    with pytest.raises(NotFoundError):
        open_local_chain(tmp_path / "none.vmdk")
    path = tmp_path / "disk"
    path.write_bytes(b"x" * 1000)
    source = FileSource(path)
    assert source.read_at(990, 10) == b"x" * 10
    for read in (lambda: source.read_at(991, 10), lambda: source.read_at(-1, 1)):
        with pytest.raises(SourceCutShortError):
            read()
    buffer: Buffer = bytearray(1000)
    path.write_bytes(b"x" * 10)
    with pytest.raises(SourceCutShortError, match="ends at 10"):
        source.readinto_at(0, buffer)
    source.close()
    source.close()
