"""Disk images for the bench, made from this machine's own files: real ext4, real contents, no download.

Recipe (sizes by ``--scale``; figures at scale 1):

- A: 4 GiB ext4, about 1.2 GB of files from /usr, chosen by a hash of their path (five tenths of the paths).
- B: 4 GiB ext4 "from the same distribution": another five tenths, of which two are shared with A.
- A2: A's second day: 600 MB of new files written with debugfs and 960 scattered 64 KiB overwrites.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GIB = 1024**3
GRAIN = 64 * 1024
SOURCE = Path("/usr")


@dataclass(frozen=True)
class Images:
    first: Path
    second: Path
    day2: Path


def tenth(path: str) -> int:
    return hashlib.sha256(path.encode()).digest()[0] % 10


def chosen(tenths: set[int], limit_bytes: int) -> Iterator[Path]:
    """Regular files of those tenths of all paths, in order of path, until the limit is reached."""
    total = 0
    for folder, folders, names in os.walk(SOURCE):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file() or tenth(str(path)) not in tenths:
                continue
            total += path.stat().st_size
            if total > limit_bytes:
                return
            yield path


def stage(folder: Path, files: Iterator[Path]) -> None:
    """A tree of copies (hard links where they can be had) for mke2fs to fill the file system from."""
    for path in files:
        target = folder / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError:
            shutil.copy(path, target)


def make_ext4(image: Path, size_bytes: int, files: Iterator[Path]) -> None:
    tree = image.with_suffix(".tree")
    tree.mkdir()
    stage(tree, files)
    with image.open("wb") as out:
        out.truncate(size_bytes)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, image], check=True)
    shutil.rmtree(tree)


def second_day(source: Path, image: Path, new_bytes: int, overwrites: int) -> None:
    """A copy of the image with new files in its file system and scattered overwrites of its used blocks."""
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, image], check=True)
    commands = ["mkdir day2", "cd day2"]
    commands += [f"write {path} f{number}" for number, path in enumerate(chosen({8, 9}, new_bytes))]
    subprocess.run(
        ["debugfs", "-w", "-f", "-", image],
        input="\n".join(commands),
        text=True,
        check=True,
        capture_output=True,
    )
    overwrite(image, overwrites)


def overwrite(image: Path, count: int) -> None:
    """Half-compressible bytes over ``count`` random 64 KiB grains that hold data."""
    chance = random.Random(7)
    with image.open("r+b") as disk:
        size = disk.seek(0, os.SEEK_END)
        while count:
            offset = chance.randrange(size // GRAIN) * GRAIN
            disk.seek(offset)
            if not any(disk.read(GRAIN)):
                continue
            disk.seek(offset)
            disk.write(chance.randbytes(GRAIN // 2) + bytes(range(256)) * (GRAIN // 512))
            count -= 1


def make_images(folder: Path, scale: float) -> Images:
    """The three images, made once and kept in ``folder``."""
    images = Images(folder / "a.img", folder / "b.img", folder / "a2.img")
    if images.day2.exists():
        return images
    folder.mkdir(parents=True, exist_ok=True)
    size, used = int(4 * scale * 1024) * (GIB // 1024), int(1.24e9 * scale)
    make_ext4(images.first, size, chosen({0, 1, 2, 3, 4}, used))
    make_ext4(images.second, size, chosen({3, 4, 5, 6, 7}, used))
    partial = images.day2.with_suffix(".partial")
    second_day(images.first, partial, int(600e6 * scale), int(960 * scale))
    partial.rename(images.day2)
    return images
