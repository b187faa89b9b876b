"""A disk of 8 TiB takes little memory, whatever is done to its map."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_CHILD = """
import sys
from pathlib import Path
from vbm.ids import ChangeId, DiskKey, MoRef, RestorePointId, RunId, VmUuid
from vbm.objectstore.local import LocalStore
from vbm.repository.keys import KeyFile
from vbm.repository.repository import Repository
from vbm.units import MIB, TIB
sys.path.insert(0, sys.argv[2])
from fixtures_repo_core import DISK, draft, entry

repo = Repository.create(LocalStore(Path(sys.argv[1])), KeyFile(b"k" * 32))
count = 8 * TIB // MIB
used = [*range(0, count, 12_345), count - 1]
base = None
for point in ("rp-1", "rp-2"):
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(8 * TIB, base)
        for index in used[:: 1 if base is None else 7]:
            map_.set(index, writer.put_chunk(f"{point} {index}".encode() * 100).id)
        writer.put_map(entry(8 * TIB), map_)
        writer.commit(draft(point))
    base = repo.disk_map(RestorePointId(point), DISK)
assert base.count == count
assert [index for index, _ in base.used()] == used
reader = repo.disk_reader(RestorePointId("rp-2"), DISK)
assert sum(1 for _ in reader.extents()) >= 2 * len(used) - 2
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


def test_an_8_tib_disk_stays_within_200_mib(tmp_path: Path) -> None:
    tests = Path(__file__).resolve().parents[1]
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path), str(tests)], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    assert int(child.stdout) <= 200
