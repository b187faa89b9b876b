"""The local store against a full disk, killed writers and other processes, all of them real."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from vbm.objectstore.local import LocalStore

CHILD = """
import os, resource, signal, sys
from pathlib import Path
from vbm.objectstore.base import ObjectExistsError, StoreFullError
from vbm.objectstore.local import LocalStore
from vbm.units import MIB
store = LocalStore(Path(sys.argv[1]))
"""


def _child(code: str, store: LocalStore, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD + code, str(store.root), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    child = _child(
        """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, 2 * MIB))
store.put("fits", [bytes(MIB)])
for upload in (False, True):
    try:
        if upload:
            made = store.begin_upload()
            for _ in range(3):
                made.write(bytes(MIB))
        else:
            store.put("large", [bytes(MIB)] * 3)
    except StoreFullError as error:
        print("full", bool(error.hint))
store.put("after", [b"x"])
""",
        store,
    )
    assert child.communicate()[0].split("\n")[:2] == ["full True", "full True"]
    assert child.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["after", "fits"]


def test_a_killed_writer_leaves_no_object(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("packs/there", [b"x"])
    child = _child(
        """
upload = store.begin_upload()
upload.write(bytes(5 * MIB))
os.kill(os.getpid(), signal.SIGKILL)
""",
        store,
    )
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert [info.key for info in store.list()] == ["packs/there"]


def test_of_many_processes_that_write_one_name_one_wins(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    children = [
        _child(
            """
print("ready", flush=True)
sys.stdin.readline()
for number in range(60):
    try:
        store.put(f"raced/{number}", [sys.argv[2].encode() * 20_000])
        print(number)
    except ObjectExistsError:
        pass
""",
            store,
            name,
        )
        for name in "abc"
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    won = {name: child.communicate()[0].split() for name, child in zip("abc", children, strict=True)}
    assert all(child.returncode == 0 for child in children)
    assert sorted(int(number) for numbers in won.values() for number in numbers) == list(range(60))
    for name, numbers in won.items():
        assert all(store.get(f"raced/{number}") == name.encode() * 20_000 for number in numbers)
    assert len(list(store.list())) == 60
