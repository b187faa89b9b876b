"""What happens inside a guest: a day's work, and disks in and out as raw images."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vbm.lab import content, ext4
from vbm.lab.layer_files import copy_sparse
from vbm.lab.machine import FrozenView, Machine
from vbm.lab.model import GRAIN_BYTES, DiskSpec, MachineSpec
from vbm.units import KIB, MIB

if TYPE_CHECKING:
    from vbm.lab.state import LabState

_ROUNDS: Final = 8  # batches of a day: the file system is consistent between them
_STEP: Final = MIB
_SAMPLE: Final = 64  # files whose contents are overwritten a round, at most


@dataclass(slots=True)
class DayReport:
    """What a day did."""

    rounds: int = 0
    files_written: int = 0
    files_deleted: int = 0
    files_changed: int = 0
    grains_written: int = 0
    file_system: str = "ext4"  # "none": blocks were overwritten without regard to files
    bytes_written: int = field(default=0)


def day(
    machine: Machine, disk_index: int = 0, seed: int = 1, *, size_bytes: int = 24 * MIB, rounds: int = _ROUNDS
) -> DayReport:
    """A day of work: files made, deleted and changed in the guest's file system, about ``size_bytes`` of them.

    Each of its rounds is written under ``machine.quiet()``, so a snapshot finds a consistent file system.
    Nobody else should write to that disk meanwhile. The same seed on the same disk does the same.
    """
    report = DayReport()
    with tempfile.TemporaryDirectory(prefix=".day-", dir=machine.lab.directory) as scratch:
        before, work = Path(scratch) / "before", Path(scratch) / "work"
        _save(machine, disk_index, before)
        work.touch()
        os.truncate(work, before.stat().st_size)
        copy_sparse(before, work)
        with work.open("rb") as file:
            header = file.read(2048)
        if not ext4.is_ext(header) or not ext4.available():
            report.file_system = "none"
        for number in range(rounds):
            source = random.Random(f"{seed}-{number}")  # noqa: S311 - play data
            if report.file_system == "ext4":
                _work(work, Path(scratch), source, size_bytes // rounds, report)
            else:
                _scribble(work, source, size_bytes // rounds, report)
            _write_back(machine, disk_index, before, work, report)
            report.rounds += 1
    return report


def _save(machine: Machine, disk_index: int, path: Path) -> None:
    with machine.quiet():
        view = machine.current_reader(machine.disks[disk_index].key)
        _write_sparse(view, path)


def _write_sparse(view: FrozenView, path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(view.size_bytes)
        for start, length in view.allocated():
            for at in range(start, start + length, _STEP):
                data = view.read_at(at, min(_STEP, start + length - at))
                if data.count(0) != len(data):
                    file.seek(at)
                    file.write(data)
    view.close()


def _work(image: Path, scratch: Path, source: random.Random, size_bytes: int, report: DayReport) -> None:
    files = ext4.list_files(image)
    budget = min(size_bytes, ext4.free_bytes(image) // 4)
    commands = _deletions(files, source, report)
    commands += _creations(scratch, source, budget * 2 // 3, report)
    ext4.apply(image, commands)
    kept = {path: size for path, size in files.items() if f"rm {path}" not in commands}
    _overwrite(image, kept, source, budget // 3, report)


def _deletions(files: dict[str, int], source: random.Random, report: DayReport) -> list[str]:
    doomed = source.sample(sorted(files), min(4, len(files) // 8))
    report.files_deleted += len(doomed)
    return [f"rm {path}" for path in doomed]


def _creations(scratch: Path, source: random.Random, budget: int, report: DayReport) -> list[str]:
    name = f"day-{source.getrandbits(32):08x}"
    commands = [f"mkdir /{name}", f"cd /{name}"]
    number = 0
    while budget > 4 * KIB:
        size = min(budget, source.randrange(4 * KIB, max(budget // 2, 8 * KIB)))
        kind = source.choice((content.text, content.records, content.noise))
        path = scratch / f"new-{number}"
        path.write_bytes(kind(size, f"{name}-{number}"))
        commands.append(f"write {path} file-{number}")
        number, budget = number + 1, budget - size
    report.files_written += number
    return commands


def _overwrite(
    image: Path, files: dict[str, int], source: random.Random, budget: int, report: DayReport
) -> None:
    """New contents in the middle of files: no metadata of the file system changes, but 64 KiB grains do."""
    chosen = source.sample(sorted(files), min(_SAMPLE, len(files), max(budget // GRAIN_BYTES, 1)))
    with image.open("r+b") as file:
        block = ext4.block_bytes(file.read(2048))
        wanted = [(path, source.randrange(-(-files[path] // block))) for path in chosen]
        for number in ext4.places(image, wanted):
            file.seek(number * block)
            file.write(content.noise(block, f"{number}-{source.random()}"))
            report.files_changed += 1


def _scribble(image: Path, source: random.Random, size_bytes: int, report: DayReport) -> None:
    size = image.stat().st_size
    with image.open("r+b") as file:
        for _ in range(max(size_bytes // GRAIN_BYTES, 1)):
            offset = source.randrange(max(size // GRAIN_BYTES, 1)) * GRAIN_BYTES
            file.seek(offset)
            file.write(content.noise(min(GRAIN_BYTES // 2, size - offset), f"{source.random()}"))
            report.files_changed += 1


def _write_back(machine: Machine, disk_index: int, before: Path, work: Path, report: DayReport) -> None:
    """The grains that differ, into the guest's disk and into ``before``."""
    with machine.quiet(), before.open("r+b") as file:
        for offset, data in _differences(before, work):
            machine.guest_write(disk_index, offset, data)
            file.seek(offset)
            file.write(data)
            report.grains_written += 1
            report.bytes_written += len(data)


def _differences(before: Path, work: Path) -> Iterator[tuple[int, bytes]]:
    with before.open("rb") as old, work.open("rb") as new:
        for start, length in _data_ranges(new.fileno()):
            for at in range(start, start + length, _STEP):
                size = min(_STEP, start + length - at)
                ours, theirs = os.pread(new.fileno(), size, at), os.pread(old.fileno(), size, at)
                if ours == theirs:
                    continue
                for low in range(0, size, GRAIN_BYTES):
                    piece = ours[low : low + GRAIN_BYTES]
                    if piece != theirs[low : low + GRAIN_BYTES]:
                        yield at + low, piece


def _data_ranges(descriptor: int) -> Iterator[tuple[int, int]]:
    """Grain-aligned ranges with data. debugfs and mke2fs make no new holes, so what was data stays data."""
    size, at = os.fstat(descriptor).st_size, 0
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole to the end
            return
        low = max(start // GRAIN_BYTES * GRAIN_BYTES, at)
        hole = os.lseek(descriptor, start, os.SEEK_HOLE)
        at = min(-(-hole // GRAIN_BYTES) * GRAIN_BYTES, size)
        yield low, at - low


def dump(machine: Machine, disk_index: int, output: Path) -> None:
    """What the guest sees now, between two batches of its writes, as a sparse raw image."""
    _save(machine, disk_index, output)


def create_vm_from_raw(
    state: LabState,
    name: str,
    images: Sequence[Path],
    *,
    datastore: str = "",
    snapshots: int = 0,
    power_on: bool = False,
    delta_format: str = "",
) -> Machine:
    """A machine whose disks hold the images. With ``snapshots`` its chain is that deep and every layer has
    something to say, yet the guest sees the images' bytes in the end.
    """
    disks = tuple(DiskSpec(source=image, delta_format=delta_format) for image in images)
    machine = state.create_machine(MachineSpec(name, datastore=datastore, disks=disks))
    deepen(machine, snapshots)
    if power_on:
        machine.power_on()
    return machine


def deepen(machine: Machine, snapshots: int, seed: int = 7) -> None:
    """Take user's snapshots with other bytes in between; afterwards the guest sees what it saw before."""
    source = random.Random(seed)  # noqa: S311 - play data
    spoiled: dict[tuple[int, int], bytes] = {}
    for number in range(snapshots):
        for index, disk in enumerate(machine.disks):
            for _ in range(8):
                offset = source.randrange(max(disk.capacity_bytes // (16 * KIB), 1)) * 16 * KIB
                size = min(source.choice((512, 4 * KIB, 48 * KIB)), disk.capacity_bytes - offset)
                for at in range(offset, offset + size, 512):
                    spoiled.setdefault((index, at), machine.guest_read(index, at, 512))
                machine.guest_write(index, offset, source.randbytes(size))
        machine.take_snapshot(f"before change {number + 1}", "taken by an administrator")
    for (index, offset), data in sorted(spoiled.items()):
        machine.guest_write(index, offset, data)
