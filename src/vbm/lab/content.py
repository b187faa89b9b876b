"""Plausible files for a guest: text that compresses, binaries that hardly do, real files of this machine.

The same seed gives the same generated files; the real ones are the first of a sorted list, so two machines
with different software have different ones.
"""

from __future__ import annotations

import random
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from vbm.units import KIB, MIB

_SHARES: Final = ("/usr/share", "/usr/lib/python3", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu")
_LARGEST_BYTES: Final = 4 * MIB
_SMALLEST_BYTES: Final = 4 * KIB  # so that some thousand files make up a system
_PAGE_BYTES: Final = 8 * KIB
_VOCABULARY: Final = (
    "accepted backup cache connection denied disk error failed from host info interface invoice "
    "kernel listening login memory mounted network open packet partner password port process query "
    "queue read refused replica request restart retry root running scheduled service session socket "
    "started stopped table timeout transaction update user value volume warning worker write zone "
)
_WORDS: Final = tuple(_VOCABULARY.split())


def real_files(limit_bytes: int) -> Iterator[tuple[Path, str]]:
    """Files of this machine with their place in the guest, in a fixed order, that many bytes at most."""
    left = limit_bytes
    roots = [(Path(sysconfig.get_path("stdlib")), "usr/lib/python3")]
    roots += [(Path(share), share.strip("/")) for share in _SHARES]
    per_root = limit_bytes // 3
    for root, place in roots:
        budget = min(left, per_root)
        for path in _walk(root):
            size = path.stat().st_size
            if size <= budget:
                budget, left = budget - size, left - size
                yield path, f"{place}/{path.relative_to(root)}"
            if budget < 64 * KIB:
                break


def _walk(root: Path) -> Iterator[Path]:
    """Readable plain files, sorted by path, without caches and what other people may not see."""
    folders = [root] if root.is_dir() else []
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            continue
        for path in entries:
            if path.is_symlink() or path.name in {"__pycache__", "site-packages", "dist-packages"}:
                continue
            if path.is_dir():
                folders.append(path)
            elif _suits(path):
                yield path


def _suits(path: Path) -> bool:
    if not path.is_file():
        return False
    status = path.stat()
    return _SMALLEST_BYTES <= status.st_size <= _LARGEST_BYTES and bool(status.st_mode & 0o004)


def text(size_bytes: int, seed: str) -> bytes:
    """Lines of a log; compresses to about a quarter."""
    source = random.Random(seed)  # noqa: S311 - play data
    phrases = [" ".join(source.choices(_WORDS, k=4)) for _ in range(256)]
    stamps = [f"2026-01-{day:02d}T{hour:02d}:" for day in range(1, 29) for hour in range(24)]
    count = size_bytes // 48 + 1
    parts = zip(
        source.choices(stamps, k=count),
        source.randbytes(2 * count).hex(" ", 2).split(),
        source.choices(phrases, k=count),
        source.choices(phrases, k=count),
        strict=True,
    )
    return "\n".join(map(" ".join, parts)).encode()[:size_bytes]


def noise(size_bytes: int, seed: str) -> bytes:
    """What pictures and archives look like: incompressible."""
    return random.Random(seed).randbytes(size_bytes)  # noqa: S311 - play data


def records(size_bytes: int, seed: str) -> bytes:
    """Pages of a database: 8 KiB each with a header, 250 rows and slack."""
    count = -(-size_bytes // _PAGE_BYTES)
    source = np.random.default_rng(list(seed.encode()))
    words = np.frombuffer(b"".join(word.encode().ljust(24, b"\0") for word in _WORDS), np.uint8).reshape(
        -1, 24
    )
    pages = np.zeros((count, _PAGE_BYTES), np.uint8)
    pages[:, :8] = np.arange(count, dtype="<u8").view(np.uint8).reshape(-1, 8)
    rows = pages[:, 16 : 16 + 250 * 32].reshape(count, 250, 32)
    rows[:, :, :8] = (
        source.integers(0, 1 << 40, (count, 250), dtype=np.int64).view(np.uint8).reshape(count, 250, 8)
    )
    rows[:, :, 8:] = words[source.integers(0, len(words), (count, 250))]
    pages[:, 16 : 16 + 250 * 32] = rows.reshape(count, -1)
    return pages.tobytes()[:size_bytes]


def fill_system(root: Path, limit_bytes: int, seed: str) -> None:
    """A system disk's files below ``root``: real ones, logs, pictures, an /etc."""
    for path, place in real_files(limit_bytes * 3 // 4):
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    _put(root / "etc/fstab", b"/dev/sda / ext4 defaults 0 1\n")
    _put(root / "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n")
    for number in range(24):
        _put(root / f"var/log/app-{number:02d}.log", text(limit_bytes // 256, f"{seed}-log-{number}"))
    for number in range(32):
        _put(root / f"srv/pictures/{number:03d}.jpg", noise(limit_bytes // 256, f"{seed}-picture-{number}"))


def fill_data(root: Path, limit_bytes: int, seed: str) -> None:
    """A database disk's files below ``root``: tables and a write-ahead log."""
    for number in range(12):
        _put(root / f"base/{16384 + number}", records(limit_bytes // 16, f"{seed}-table-{number}"))
    for number in range(8):
        _put(root / f"wal/{number:016x}", noise(limit_bytes // 64, f"{seed}-wal-{number}"))


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def pseudo_disk(path: Path, capacity_bytes: int, limit_bytes: int, seed: str) -> None:
    """Without mke2fs: no file system, but the same kinds of bytes at scattered places of a sparse image."""
    with path.open("wb") as file:
        file.truncate(capacity_bytes)
        step = max(capacity_bytes // 64 // MIB, 1) * MIB
        piece = max(limit_bytes // 64, 64 * KIB)
        for number, offset in enumerate(range(0, capacity_bytes - piece, step)):
            file.seek(offset)
            file.write((text if number % 2 else noise)(piece, f"{seed}-{number}"))
