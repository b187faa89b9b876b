"""Memory: a disk of 8 TiB in one restore point, and what one chunk costs in the index."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from measure import run

TIB = 1024**4
DATA_EVERY = 16 * 1024**3
PROBE = """
import sys, tracemalloc
import numpy as np
from vbm.ids import ChunkId, PackId
from vbm.repository.index import ChunkIndex
from vbm.repository.pack import Place
import os, resource
count = 1_000_000
index = ChunkIndex()
tracemalloc.start()
ids = os.urandom(32 * count)
base = tracemalloc.get_traced_memory()[0]
packs = [PackId(os.urandom(32).hex()) for _ in range(count // 80)]
for first in range(0, count, 4096):
    index.add(
        (ChunkId(ids[32 * n : 32 * n + 32]), Place(packs[n // 80 % len(packs)], n % 80 * 400_000 + 40, 399_000, True))
        for n in range(first, min(count, first + 4096))
    )
index.compact()
print((tracemalloc.get_traced_memory()[0] - base) / count)
"""


def sparse_disk(path: Path) -> int:
    """8 TiB with 1 MiB of data every 16 GiB; how many chunks hold data."""
    chunk = bytes(range(256)) * 4096
    count = 0
    with path.open("wb") as disk:
        disk.truncate(8 * TIB)
        for offset in range(0, 8 * TIB, DATA_EVERY):
            disk.seek(offset)
            disk.write(count.to_bytes(8, "big") + chunk[8:])
            count += 1
    return count


def measure_memory(folder: Path) -> dict[str, Any]:
    image, repository = folder / "huge.img", folder / "vbm-huge"
    shutil.rmtree(repository, ignore_errors=True)
    chunks = sparse_disk(image)
    script = Path(__file__).with_name("product.py")
    from product import Vbm  # noqa: PLC0415 - the product is loaded in children only where memory is measured

    Vbm(repository).create()
    measured = run([sys.executable, script, "backup", f"file://{repository}", image])
    per_chunk = float(run([sys.executable, "-c", PROBE]).output)
    image.unlink()
    shutil.rmtree(repository)
    return {
        "8 TiB sparse disk, chunks with data": chunks,
        "8 TiB sparse disk, seconds": round(measured.wall_seconds, 2),
        "8 TiB sparse disk, peak MiB": round(measured.peak_mib),
        "index, bytes a chunk (1 M chunks)": round(per_chunk, 1),
    }
