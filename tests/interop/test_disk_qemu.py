"""qemu-img reads what we write, and we read what qemu-img writes."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vbm.disk.image_writer import open_image_writer
from vbm.disk.raw import RawDisk
from vbm.disk.vmdk.chain import ChainReader
from vbm.disk.vmdk.descriptor import DeltaKind, delta_descriptor, flat_descriptor
from vbm.disk.vmdk.grain_writer import GrainWriter
from vbm.disk.vmdk.local_chain import open_local_chain
from vbm.disk.vmdk.se_sparse import SeSparseWriter
from vbm.disk.vmdk.sparse import CowdWriter
from vbm.disk.vmdk.stream_optimized import encode
from vbm.disk.vmdk.stream_reader import StreamCutShortError, StreamOptimizedReader
from vbm.units import KIB, MIB, TIB

QEMU_IMG = shutil.which("qemu-img")
pytestmark = pytest.mark.skipif(QEMU_IMG is None, reason="qemu-img is not installed (package qemu-utils)")

CAPACITY = 40 * MIB + 1536  # more than one table of each format, no multiple of any grain
WRITERS: dict[DeltaKind, type[GrainWriter]] = {"vmfsSparse": CowdWriter, "seSparse": SeSparseWriter}


def qemu_img(*arguments: Any) -> str:
    done = subprocess.run([QEMU_IMG, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"qemu-img {arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def same(image_format: str, image: Path, raw: Path) -> None:
    assert "identical" in qemu_img("compare", "-f", image_format, "-F", "raw", image, raw)
    info = json.loads(qemu_img("info", "-f", image_format, "--output=json", image))
    assert info["virtual-size"] == raw.stat().st_size


def scatter(seed: int, capacity: int, write: Callable[[int, bytes], object], model: bytearray) -> None:
    """Random writes of many sizes and places, the last bytes of the disk among them."""
    chance = random.Random(seed)
    for _ in range(60):
        offset = chance.randrange(capacity)
        data = chance.randbytes(min(capacity - offset, chance.choice([1, 512, 5000, 70_000, 2 * MIB])))
        write(offset, data)
        model[offset : offset + len(data)] = data
    write(capacity - 5, b"tail.")
    model[capacity - 5 : capacity] = b"tail."


@pytest.fixture
def model() -> bytearray:
    disk = bytearray(CAPACITY)
    scatter(1, CAPACITY, lambda _offset, _data: None, disk)
    return disk


@pytest.fixture
def raw(tmp_path: Path, model: bytearray) -> Path:
    path = tmp_path / "model.raw"
    path.write_bytes(model)
    return path


@pytest.mark.parametrize("image_format", ["raw", "qcow2", "vmdk"])
def test_images_for_people_are_read_by_qemu(image_format: str, tmp_path: Path) -> None:
    model = bytearray(CAPACITY)
    image = tmp_path / f"image.{image_format}"
    writer = open_image_writer(image_format, image, CAPACITY)
    scatter(2, CAPACITY, writer.write, model)
    writer.write(5 * MIB, bytes(MIB))
    model[5 * MIB : 6 * MIB] = bytes(MIB)
    writer.close()
    (tmp_path / "raw").write_bytes(model)
    same(image_format, image, tmp_path / "raw")
    if image_format == "qcow2":
        assert "No errors" in qemu_img("check", "-f", "qcow2", image)


def test_a_qcow2_of_terabytes_keeps_few_tables_in_memory_and_is_right(tmp_path: Path) -> None:
    image = tmp_path / "large.qcow2"
    writer = open_image_writer("qcow2", image, 8 * TIB)
    places = [*range(0, 8 * TIB, 300_000_000_001), 8 * TIB - 512]
    for offset in places:
        writer.write(offset, b"%d." % offset)
    for offset in places:  # once more, when their tables have long been written out
        writer.write(offset + 20, b"again")
    writer.close()
    assert "No errors" in qemu_img("check", "-f", "qcow2", image)
    for offset in places[::7]:
        part = tmp_path / "part"
        block, inside = offset // 512, offset % 512
        qemu_img(
            "dd",
            "-f",
            "qcow2",
            "-O",
            "raw",
            f"if={image}",
            f"of={part}",
            "bs=512",
            f"skip={block}",
            f"count={block + 2}",
        )
        expected = b"%d." % offset
        assert part.read_bytes()[inside : inside + len(expected)] == expected


@pytest.mark.parametrize("kind", list(WRITERS))
def test_chains_of_deltas_are_read_by_qemu(
    kind: DeltaKind, tmp_path: Path, model: bytearray, raw: Path
) -> None:
    base = flat_descriptor(CAPACITY, "base-flat.vmdk")
    raw.rename(tmp_path / "base-flat.vmdk")
    (tmp_path / "base.vmdk").write_text(base.render())
    parent_name = "base.vmdk"
    for level in range(1, 4):
        parent = open_local_chain(tmp_path / parent_name)
        extent, name = f"disk-{level:06d}-delta.vmdk", f"disk-{level:06d}.vmdk"
        writer = WRITERS[kind](tmp_path / extent, CAPACITY, parent=parent)
        scatter(10 + level, CAPACITY, writer.write, model)
        if kind == "seSparse":  # qemu takes a vmfsSparse mark of zeros for a sector
            writer.zero(level * 9 * MIB, 2 * MIB + 3)
            model[level * 9 * MIB : level * 9 * MIB + 2 * MIB + 3] = bytes(2 * MIB + 3)
        writer.close()
        parent.close()
        (tmp_path / name).write_text(delta_descriptor(kind, CAPACITY, extent, parent_name, base.cid).render())
        parent_name = name
    raw.write_bytes(model)
    same("vmdk", tmp_path / parent_name, raw)
    assert contents(open_local_chain(tmp_path / parent_name)) == model


def contents(reader: ChainReader) -> bytearray:
    buffer = bytearray(reader.capacity_bytes)
    reader.readinto(0, buffer)
    reader.close()
    return buffer


def test_our_stream_is_read_by_qemu(tmp_path: Path, raw: Path) -> None:
    stream = tmp_path / "disk.vmdk"
    disk = RawDisk(raw)
    with stream.open("wb") as file:
        for part in encode(read_all(disk), disk.capacity_bytes, "disk.vmdk", threads=2):
            file.write(part)
    disk.close()
    same("vmdk", stream, raw)
    assert "No errors" in qemu_img("check", "-f", "vmdk", stream)
    converted = tmp_path / "converted.raw"
    qemu_img("convert", "-f", "vmdk", "-O", "raw", stream, converted)
    same("raw", converted, raw)


def read_all(disk: RawDisk) -> list[tuple[int, bytearray]]:
    pieces = []
    for offset in range(0, disk.capacity_bytes, 300_000):
        buffer = bytearray(min(300_000, disk.capacity_bytes - offset))
        disk.readinto(offset, buffer)
        pieces.append((offset, buffer))
    return pieces


@pytest.mark.parametrize("cut", [0, 70 * KIB])
def test_qemu_streams_are_read_by_us(tmp_path: Path, raw: Path, model: bytearray, cut: int) -> None:
    stream = tmp_path / "disk.vmdk"
    qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, stream)
    data = stream.read_bytes()
    with stream.open("r+b") as file:
        file.truncate(len(data) - cut)
    with stream.open("rb") as file:
        reader = StreamOptimizedReader(file.read)
        buffer = bytearray(reader.capacity_bytes)
        if cut:
            with pytest.raises(StreamCutShortError):
                reader.readinto(0, buffer)
            return
        reader.readinto(0, buffer)
    assert buffer == model


def test_qemu_flat_images_are_read_by_us(tmp_path: Path, raw: Path, model: bytearray) -> None:
    qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=monolithicFlat", raw, tmp_path / "q.vmdk")
    assert contents(open_local_chain(tmp_path / "q.vmdk")) == model
