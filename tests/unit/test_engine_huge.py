"""A disk of 8 TiB costs by what is in it and what changed, in time and in memory; measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import json, sys
from pathlib import Path
from vbm.disk.extents import Extent, ExtentKind, cover
from vbm.engine.image import FIRST_DISK, ImageOptions, backup_image
from vbm.objectstore.local import LocalStore
from vbm.repository.keys import KeyFile
from vbm.repository.repository import Repository

TIB, GIB, MIB, KIB = 1 << 40, 1 << 30, 1 << 20, 1 << 10
EVERY, PIECE, COUNT = 16 * GIB, 2 * MIB, 500

class Huge:
    capacity_bytes, random_read = 8 * TIB, True

    def extents(self):
        return cover([Extent(i * EVERY, PIECE) for i in range(COUNT)], self.capacity_bytes)

    def readinto(self, offset, buffer):
        where, at = divmod(offset, EVERY)
        value = where.to_bytes(4, "big") if at < PIECE else bytes(4)
        buffer[:] = value * (len(buffer) // 4)

    def close(self):
        pass

repo = Repository.create(LocalStore(Path(sys.argv[1])), KeyFile(b"k" * 32))
full = backup_image(Huge(), repo)
changed = [Extent(i * EVERY + 5 * 64 * KIB, 64 * KIB) for i in range(COUNT)]
second = backup_image(
    Huge(), repo, ImageOptions(audit_chunks=16), parent=full.restore_point, changed=changed
)
reader = repo.disk_reader(second.restore_point, FIRST_DISK)
data = sum(e.length for e in reader.extents() if e.kind is ExtentKind.DATA)
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
print(json.dumps({"full": full.bytes_read, "mode": second.read_mode, "second": second.bytes_read,
                  "audited": second.bytes_audited, "data": data, "peak_mib": peak}))
"""

MIB, KIB = 1024**2, 1024


def test_eight_tebibytes_stay_within_the_memory_and_cost_by_their_content(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "repo")], check=True, capture_output=True, text=True
    )
    said = json.loads(run.stdout)
    zero_chunk_that_reads_as_zero = 1 * 2 * MIB  # the first piece holds zeros
    assert said["full"] == 1000 * MIB
    assert said["data"] == said["full"] - zero_chunk_that_reads_as_zero
    assert said["mode"] == "incremental"
    assert said["second"] == 500 * 64 * KIB
    assert said["audited"] == 16 * MIB
    assert said["peak_mib"] <= 200
