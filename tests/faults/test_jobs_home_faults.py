"""A worker whose home fails under it: its database's disk full, the database locked, read-only, with another key."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fixtures_jobs import MIB, JobsRig
from fixtures_small_disk import small_disk
from vbm.clock import SystemClock
from vbm.services import jobs

AWAY_SECONDS = 4


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JobsRig]:
    with small_disk(tmp_path / "home", 24):
        made = JobsRig(tmp_path)
        yield made
        made.close()


def remount(rig: JobsRig, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", rig.home], check=True)


def reading(rig: JobsRig) -> tuple[subprocess.Popen[bytes], bytes]:
    """A worker in the middle of a run, and what the VM held."""
    machine = rig.machine("web01", 12 * MIB)
    rig.job(limits={"bytes_per_second": 2 * MIB})
    child = rig.worker()
    jobs.run_now(rig.workspace, "nightly")
    rig.until(lambda: any(run.bytes_done for run in rig.runs()), "it reads")
    return child, machine.guest_read(0, 0, 12 * MIB)


def ends_well(rig: JobsRig, child: subprocess.Popen[bytes], expected: bytes, said: str) -> None:
    """The run outlived the fault, which the log told of, and nothing was lost."""
    (run,) = rig.ended(1)
    assert (run.state, run.snapshot_state) == ("succeeded", "removed"), run
    assert rig.ours() == []
    (point,) = rig.points()
    assert rig.stored(point) == expected
    assert said in rig.log()
    assert "Traceback" not in rig.log()
    rig.stop(child)
    assert child.returncode == 0


def test_a_run_outlives_a_full_disk_under_the_database(rig: JobsRig) -> None:
    child, expected = reading(rig)
    filler = rig.home / "filler"
    with pytest.raises(OSError, match="No space"):
        fill(filler)
    SystemClock().sleep(AWAY_SECONDS)
    filler.unlink()
    ends_well(rig, child, expected, "disk is full")


def test_a_run_outlives_a_locked_database(rig: JobsRig) -> None:
    child, expected = reading(rig)
    with closing(sqlite3.connect(rig.home / "vbm.db", isolation_level=None)) as database:
        database.execute("begin immediate")
        SystemClock().sleep(8)
        database.execute("rollback")
    ends_well(rig, child, expected, "")


def test_a_home_that_is_read_only_is_one_clear_error(rig: JobsRig) -> None:
    rig.workspace.close()
    remount(rig, "ro")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "vbm", "job", "list"],
            env=rig.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        worker = subprocess.run(
            [sys.executable, "-m", "vbm", "serve"],
            env=rig.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        remount(rig, "rw")
    for said in (done, worker):
        assert "Traceback" not in said.stderr
        assert said.returncode in {0, 4}, said.stderr
    assert worker.returncode == 4
    assert worker.stderr.count("Error:") == 1
    assert "read-only" in worker.stderr


def test_another_key_file_is_refused_before_anything_runs(rig: JobsRig) -> None:
    rig.machine("web01", MIB)
    rig.job()
    jobs.run_now(rig.workspace, "nightly")
    key = rig.home / "master.key"
    kept = key.read_bytes()
    key.write_bytes(os.urandom(32).hex().encode() if len(kept) > 32 else os.urandom(32))
    child = rig.worker(ready=False)
    assert child.wait(30) != 0
    said = rig.log()
    assert "MasterKeyError" in said
    assert str(key) in said
    assert rig.lab.password not in said
    assert rig.runs() == []
    key.write_bytes(kept)
    second = rig.worker()
    assert rig.ended(1)[0].state == "succeeded"
    rig.stop(second)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
