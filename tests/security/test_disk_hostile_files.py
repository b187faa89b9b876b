"""Disk files made to mislead: each is read or refused with an error of ours, in bounded time and memory."""

from __future__ import annotations

import io
import struct
import tempfile
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vbm.disk.byte_source import BytesSource
from vbm.disk.ovf import OvfDisk, OvfError, OvfMachine, parse_ovf, render_ovf
from vbm.disk.vmdk.chain import ChainReader, Format, Link
from vbm.disk.vmdk.descriptor import Descriptor, delta_descriptor, flat_descriptor
from vbm.disk.vmdk.errors import VmdkDamagedError, VmdkDirtyError, VmdkUnsupportedError
from vbm.disk.vmdk.local_chain import open_local_chain
from vbm.disk.vmdk.names import member_name, volume_path
from vbm.disk.vmdk.se_sparse import SeSparseReader, SeSparseWriter
from vbm.disk.vmdk.sparse import CowdReader, CowdWriter
from vbm.disk.vmdk.stream_format import pack_grain
from vbm.disk.vmdk.stream_optimized import encode
from vbm.disk.vmdk.stream_reader import StreamOptimizedReader
from vbm.disk.vmx import parse_vmx, render_vmx
from vbm.errors import NotFoundError, VbmError
from vbm.units import MIB

CAPACITY = 5 * MIB


def made(writer_type: type[CowdWriter | SeSparseWriter]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "delta"
        writer = writer_type(path, CAPACITY)
        for offset in range(0, CAPACITY, 900_000):
            writer.write(offset, b"data" * 3000)
        writer.zero(MIB, 200_000)
        writer.close()
        return path.read_bytes()


COWD = made(CowdWriter)
SE_SPARSE = made(SeSparseWriter)
STREAM = b"".join(encode([(n * 300_000, b"data" * 30_000) for n in range(16)], CAPACITY))
DESCRIPTOR = delta_descriptor("vmfsSparse", CAPACITY, "x-delta.vmdk", "parent.vmdk", 7).render().encode()
VMX = render_vmx({"displayName": 'a "b" | c', "scsi0:0.fileName": "x.vmdk", "annotation": "line\nline"})
OVF = render_ovf(OvfMachine("vm", 2, 1 << 30, (OvfDisk("disk.vmdk", CAPACITY, 100),), ("net",)))

NASTY = st.sampled_from(
    [0, 1, 2, 3, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 60, 3 << 60, (1 << 63) - 1, (1 << 64) - 1]
)
NUMBER = st.one_of(NASTY, st.integers(0, (1 << 64) - 1), st.integers(0, 20_000))


@dataclass(frozen=True)
class Change:
    """Some numbers overwritten, then the file cut."""

    patches: tuple[tuple[int, bytes], ...]
    end: int

    def of(self, original: bytes) -> bytes:
        data = bytearray(original)
        for where, value in self.patches:
            data[where : where + len(value)] = value
        return bytes(data[: self.end])


@st.composite
def changes(draw: st.DrawFn, length: int, hot: int) -> Change:
    """Mostly of numbers among the first ``hot`` bytes; one file in five is cut."""
    patches = []
    for _ in range(draw(st.integers(1, 5))):
        where = draw(st.one_of(st.integers(0, hot // 4 - 2).map(lambda n: n * 4), st.integers(0, length - 8)))
        size = draw(st.sampled_from([1, 2, 4, 8]))
        patches.append((where, (draw(NUMBER) & ((1 << size * 8) - 1)).to_bytes(size, "little")))
    return Change(
        tuple(patches), draw(st.integers(0, length)) if draw(st.integers(0, 4)) == 0 else length + 8
    )


def mutated(original: bytes, hot: int) -> st.SearchStrategy[bytes]:
    return changes(len(original), hot).map(lambda change: change.of(original))


def read_chain(kind: Format, data: bytes) -> None:
    reader = ChainReader([Link(kind, BytesSource(data), CAPACITY)])
    reader.readinto(0, bytearray(CAPACITY))
    for extent in islice(reader.extents(), 100_000):
        assert extent.length > 0


def read_stream(data: bytes) -> None:
    for offset, grain in StreamOptimizedReader(io.BytesIO(data).read).grains():
        assert offset >= 0
        assert 0 < len(grain) <= MIB


def survives(read: Callable[[], object]) -> None:
    with suppress(VbmError):
        read()


@given(mutated(COWD, 2100))
@settings(max_examples=150, deadline=None)
def test_mutated_vmfs_sparse(data: bytes) -> None:
    survives(lambda: read_chain(Format.COWD, data))


@given(mutated(COWD[2048:], 64))
@settings(max_examples=60, deadline=None)
def test_mutated_vmfs_sparse_tables(data: bytes) -> None:
    survives(lambda: read_chain(Format.COWD, COWD[:2048] + data))


@given(mutated(SE_SPARSE[:1024], 1024))
@settings(max_examples=150, deadline=None)
def test_mutated_se_sparse_headers(data: bytes) -> None:
    survives(lambda: read_chain(Format.SE_SPARSE, data.ljust(1024, b"\0") + SE_SPARSE[1024:]))


@given(mutated(SE_SPARSE[2 * MIB : 4 * MIB], 64))
@settings(max_examples=60, deadline=None)
def test_mutated_se_sparse_tables(data: bytes) -> None:
    survives(lambda: read_chain(Format.SE_SPARSE, SE_SPARSE[: 2 * MIB] + data + SE_SPARSE[4 * MIB :]))


@given(mutated(STREAM, 512))
@settings(max_examples=150, deadline=None)
def test_mutated_streams(data: bytes) -> None:
    survives(lambda: read_stream(data))


@given(mutated(STREAM[128 * 512 :], 2048))
@settings(max_examples=150, deadline=None)
def test_mutated_grains(data: bytes) -> None:
    survives(lambda: read_stream(STREAM[: 128 * 512] + data))


@given(st.one_of(mutated(DESCRIPTOR, len(DESCRIPTOR)), st.binary(max_size=300).map(lambda b: DESCRIPTOR + b)))
@settings(max_examples=200, deadline=None)
def test_mutated_descriptors(data: bytes) -> None:
    survives(lambda: Descriptor.parse(data).capacity_bytes)


@given(st.one_of(mutated(VMX, len(VMX)), st.binary(max_size=300), st.text(max_size=200).map(str.encode)))
@settings(max_examples=200, deadline=None)
def test_mutated_vmx(data: bytes) -> None:
    survives(lambda: parse_vmx(data))


@given(mutated(OVF, len(OVF)))
@settings(max_examples=100, deadline=None)
def test_mutated_ovf(data: bytes) -> None:
    survives(lambda: parse_ovf(data))


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["cowd", "se-sparse", "stream"])
def test_mutations_at_length(kind: str) -> None:
    original, hot = {"cowd": (COWD, 30_000), "se-sparse": (SE_SPARSE, 1024), "stream": (STREAM, 1024)}[kind]

    @given(changes(len(original), hot))  # thousands of whole files would be kept until the end
    @settings(max_examples=1_500, deadline=None)
    def campaign(change: Change) -> None:
        data = change.of(original)
        if kind == "stream":
            survives(lambda: read_stream(data))
        else:
            survives(lambda: read_chain(Format.COWD if kind == "cowd" else Format.SE_SPARSE, data))

    campaign()


def patched(data: bytes, offset: int, form: str, *values: int) -> bytes:
    packed = struct.pack(form, *values)
    return data[:offset] + packed + data[offset + len(packed) :]


@pytest.mark.parametrize(
    ("offset", "value", "what"),
    [
        (2048, 4, "inside its metadata"),  # a table that is the directory
        (2048, 0xFFFFFFFF, "outside the file"),
        (12, 0xFFFFFFFF, "do not cover"),
        (24, 0xFFFFFFFF, "not inside the file"),
        (20, 0xFFFFFFF0, "not inside the file"),
        (16, 3, "grains of 3 sectors"),
    ],
)
def test_vmfs_sparse_places_that_mislead(offset: int, value: int, what: str) -> None:
    with pytest.raises(VmdkDamagedError, match=what):
        read_chain(Format.COWD, patched(COWD, offset, "<I", value))


def test_a_table_that_names_itself_as_data_is_refused() -> None:
    (table,) = struct.unpack_from("<I", COWD, 2048)
    with pytest.raises(VmdkDamagedError, match="itself"):
        read_chain(Format.COWD, patched(COWD, table * 512 + 40, "<I", table + 3))


def test_a_dirty_se_sparse_is_refused() -> None:
    with pytest.raises(VmdkDirtyError, match="journal"):
        SeSparseReader(BytesSource(patched(SE_SPARSE, 512 + 24, "<Q", 1)))


def test_claims_of_size_make_no_allocation() -> None:
    """A petabyte claimed by a file of a few megabytes costs nothing but an error."""
    huge = (1 << 50) // 512
    tracemalloc.start()
    try:
        survives(lambda: SeSparseReader(BytesSource(patched(SE_SPARSE, 16, "<Q", huge))))
        survives(lambda: CowdReader(BytesSource(patched(COWD, 12, "<I", 0xFFFFFFFF)), 1 << 41))
        survives(lambda: read_stream(patched(STREAM, 12, "<Q", huge)))
        survives(lambda: read_stream(patched(STREAM, 56, "<Q", 40)))
        survives(lambda: read_stream(patched(STREAM, 64, "<Q", 1 << 39)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 * MIB  # of which the mutated copies of the file are most


def test_a_decompression_bomb_stops_at_one_grain() -> None:
    bomb = pack_grain(0, zlib.compress(bytes(64 * MIB), 9))
    tracemalloc.start()
    try:
        with pytest.raises(VmdkDamagedError):
            read_stream(STREAM[: 128 * 512] + bomb + STREAM[128 * 512 :])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MIB


@pytest.mark.parametrize("sector", [CAPACITY // 512, 1, (1 << 64) - 128])
def test_grains_beyond_the_disk_are_refused(sector: int) -> None:
    with pytest.raises(VmdkDamagedError, match="sector"):
        read_stream(
            STREAM[: 128 * 512] + pack_grain(sector, zlib.compress(b"x" * 65536)) + STREAM[128 * 512 :]
        )


def test_a_grain_twice_is_refused() -> None:
    grain = pack_grain(0, zlib.compress(b"x" * 65536))
    with pytest.raises(VmdkDamagedError, match="out of order"):
        read_stream(STREAM[: 128 * 512] + grain + STREAM[128 * 512 :])


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../x", "/etc/passwd", "a\\b", "a\0b", "a\nb", "x" * 256]
)
def test_names_that_lead_elsewhere(name: str) -> None:
    with pytest.raises(VmdkUnsupportedError):
        member_name(name)


def test_parents_elsewhere_are_told_apart() -> None:
    assert volume_path("base.vmdk") == ("", "base.vmdk")
    assert volume_path("/vmfs/volumes/5f-ab/vm 1/base.vmdk") == ("5f-ab", "vm 1/base.vmdk")
    for hint in ("/etc/passwd", "/vmfs/volumes/x/../y", "/vmfs/volumes/../y", "/vmfs/volumes/x//y", "a/../b"):
        with pytest.raises(VmdkUnsupportedError):
            volume_path(hint)


def test_descriptors_that_name_one_another_in_a_circle(tmp_path: Path) -> None:
    for name, parent in (("a", "b"), ("b", "a")):
        text = delta_descriptor("vmfsSparse", CAPACITY, f"{name}-delta.vmdk", f"{parent}.vmdk", 1).render()
        (tmp_path / f"{name}.vmdk").write_text(text)
        (tmp_path / f"{name}-delta.vmdk").write_bytes(COWD)
    with pytest.raises(VmdkDamagedError, match="leads back"):
        open_local_chain(tmp_path / "a.vmdk")


def test_a_chain_without_its_parent_or_extent(tmp_path: Path) -> None:
    text = delta_descriptor("vmfsSparse", CAPACITY, "a-delta.vmdk", "gone.vmdk", 1).render()
    (tmp_path / "a.vmdk").write_text(text)
    (tmp_path / "a-delta.vmdk").write_bytes(COWD)
    with pytest.raises(NotFoundError, match=r"gone\.vmdk"):
        open_local_chain(tmp_path / "a.vmdk")
    (tmp_path / "gone.vmdk").write_text(flat_descriptor(CAPACITY, "gone-flat.vmdk").render())
    (tmp_path / "gone-flat.vmdk").write_bytes(bytes(100))
    with pytest.raises(VmdkDamagedError, match="flat extent of 100 bytes"):
        open_local_chain(tmp_path / "a.vmdk")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\x7fELF",
        b"# Disk DescriptorFile\n" + b"#" * 70_000,
        b"# Disk DescriptorFile\n",
        b'# Disk DescriptorFile\nRW 99999999999999999 VMFS "x"\n',
        b'# Disk DescriptorFile\nRW 0 VMFS "x"\n',
        b'# Disk DescriptorFile\nCID=zzzz\nRW 8 VMFS "x"\n',
        b'# Disk DescriptorFile\nencoding="rot13"\nRW 8 VMFS "x"\n',
        b'# Disk DescriptorFile\nencoding="UTF-8"\nRW 8 VMFS "\xff\xfe"\n',
        b"# Disk DescriptorFile\n" + b'RW 2199023255552 VMFS "x"\n' * 2,
    ],
)
def test_descriptors_that_are_none(text: bytes) -> None:
    with pytest.raises((VmdkUnsupportedError, VmdkDamagedError)):
        Descriptor.parse(text)


def test_long_blank_lines_take_no_time() -> None:
    blanks = b" " * 60_000
    survives(lambda: Descriptor.parse(b"# Disk DescriptorFile\n" + b"\n" * 60_000))
    survives(lambda: Descriptor.parse(b"# Disk DescriptorFile\nRW 8 VMFS " + blanks + b'"'))
    survives(lambda: Descriptor.parse(b"# Disk DescriptorFile\na" + blanks + b"b"))
    survives(lambda: parse_vmx(b"a = " + b" " * 900_000 + b'"b'))
    survives(lambda: parse_vmx(b"\n" * 1_000_000))
    survives(lambda: parse_vmx(b"a" * 1_000_000))


@pytest.mark.parametrize(
    "text",
    [
        b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><a>&d;</a>',
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        b"<a/>",
        b"not xml",
        b"\xff" * 10,
        OVF.replace(b"disk.vmdk", b"../../x"),
        OVF.replace(b"%d" % CAPACITY, b"9" * 40),
    ],
)
def test_ovf_descriptors_that_mislead(text: bytes) -> None:
    with pytest.raises((OvfError, VmdkUnsupportedError)):
        parse_ovf(text)
