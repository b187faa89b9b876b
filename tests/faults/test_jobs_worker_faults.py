"""A worker with a full disk or another's master key, and how soon a stopped run's snapshot is gone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from fixtures_jobs import MIB, JobsRig
from fixtures_small_disk import small_disk
from vbm.clock import SystemClock
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import Passphrase
from vbm.services import jobs, repositories, runs, vcenters
from vbm.services.repositories import Key
from vbm.services.workspace import Workspace

KEY = "0f" * 32
PROMISED_SECONDS = 10


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JobsRig]:
    made = JobsRig(tmp_path)
    yield made
    made.close()


@pytest.fixture
def cramped(tmp_path: Path) -> Iterator[JobsRig]:
    """The repository lies on a disk of 8 MiB."""
    with small_disk(tmp_path / "repository", 8):
        made = JobsRig(tmp_path)
        yield made
        made.close()


def test_a_disk_that_fills_up_fails_the_run_and_space_mends_it(cramped: JobsRig) -> None:
    machine = cramped.machine("web01", 12 * MIB)
    cramped.job(retries={"attempts": 1, "wait_seconds": 1})
    child = cramped.worker()
    jobs.run_now(cramped.workspace, "nightly")
    (run,) = cramped.ended(1)
    assert (run.state, run.error_code, run.snapshot_state) == ("failed", "store-full", "removed")
    assert "full" in run.error_message or "space" in run.error_message
    assert run.error_hint
    assert cramped.ours() == []
    assert cramped.points() == []
    subprocess.run(["mount", "-o", "remount,size=64m", cramped.folder / "repository"], check=True)
    jobs.run_now(cramped.workspace, "nightly")
    second = cramped.ended(2)[0]
    assert (second.state, second.snapshot_state) == ("succeeded", "removed"), second
    (point,) = cramped.points()
    assert cramped.stored(point) == machine.guest_read(0, 0, 12 * MIB)
    cramped.stop(child)


def test_a_worker_with_the_wrong_master_key_refuses_to_start(rig: JobsRig) -> None:
    """Were it to start, each job would fail, and with the channels' secrets shut too nobody would be told."""
    rig.machine("web01", MIB)
    rig.job()
    jobs.run_now(rig.workspace, "nightly")
    rig.environment["VBM_MASTER_KEY"] = KEY
    child = rig.worker(ready=False)
    assert child.wait(30) != 0
    said = rig.log()
    assert "MasterKeyError" in said
    assert "VBM_MASTER_KEY" in said
    assert KEY not in said
    assert rig.lab.password not in said
    del rig.environment["VBM_MASTER_KEY"]
    second = rig.worker()
    assert rig.ended(1)[0].state == "succeeded"
    rig.stop(second)


def test_one_password_of_another_master_key_stops_only_its_vcenter(rig: JobsRig) -> None:
    rig.machine("web01", MIB)
    rig.job()
    with Workspace(rig.workspace.settings, environment={"VBM_MASTER_KEY": KEY}) as foreign:
        vcenters.add(foreign, replace(rig.vcenter, name="old"))
    child = rig.worker()
    jobs.run_now(rig.workspace, "nightly")
    assert rig.ended(1)[0].state == "succeeded"
    assert "sealed with master key" in rig.log()
    rig.stop(child)


def test_a_passphrase_of_another_master_key_fails_before_a_snapshot_is_made(rig: JobsRig) -> None:
    """The vCenter's password opens, the repository's does not: the run says so, and the passphrase mends it."""
    machine = rig.machine("web01", MIB)
    secret = "correct horse battery staple"
    store = (rig.folder / "sealed").as_uri()
    with Workspace(rig.workspace.settings, environment={"VBM_MASTER_KEY": KEY}) as foreign:
        repositories.create(foreign, "sealed", store, Key(Passphrase(secret)), RepositoryOptions())
    rig.job(repository_id="sealed", retries={"attempts": 1, "wait_seconds": 1})
    child = rig.worker()
    jobs.run_now(rig.workspace, "nightly")
    (run,) = rig.ended(1)
    assert (run.state, run.error_code, run.snapshot_state) == ("failed", "master-key", "none")
    assert "repository/" in run.error_message
    assert run.error_hint
    assert '"snapshot-created"' not in (rig.folder / "lab/events.jsonl").read_text()
    for text in (run.error_message, run.error_hint, rig.log()):
        assert KEY not in text
        assert secret not in text
    repositories.add(rig.workspace, "again", store, Key(Passphrase(secret)))
    jobs.update(rig.workspace, "nightly", {"repository_id": "again"})
    jobs.run_now(rig.workspace, "nightly")
    assert rig.ended(2)[0].state == "succeeded"
    (point,) = rig.points("again")
    assert rig.stored(point, "again") == machine.guest_read(0, 0, MIB)
    rig.stop(child)


def seconds_until_gone(rig: JobsRig) -> float:
    clock = SystemClock()
    asked = clock.monotonic()
    rig.until(lambda: rig.ours() == [], "the snapshot is gone", PROMISED_SECONDS)
    return clock.monotonic() - asked


def reading(rig: JobsRig, **fields: object) -> subprocess.Popen[bytes]:
    rig.machine("web01", 48 * MIB)
    rig.job(limits={"bytes_per_second": MIB}, **fields)
    child = rig.worker()
    jobs.run_now(rig.workspace, "nightly")
    rig.until(lambda: any(run.bytes_done for run in rig.runs()), "it reads")
    assert len(rig.ours()) == 1
    return child


def test_ten_seconds_after_a_cancel_the_snapshot_is_gone(rig: JobsRig) -> None:
    child = reading(rig)
    runs.cancel(rig.workspace, rig.runs()[0].id)
    assert seconds_until_gone(rig) < PROMISED_SECONDS
    assert rig.ended(1)[0].state == "cancelled"
    rig.stop(child)


def test_ten_seconds_after_the_deadline_the_snapshot_is_gone(rig: JobsRig) -> None:
    child = reading(rig, deadline_seconds=4)
    started = rig.runs()[0].started
    assert started is not None
    due = started + timedelta(seconds=4)
    rig.until(lambda: rig.workspace.clock.now() >= due, "the deadline")
    assert seconds_until_gone(rig) < PROMISED_SECONDS
    (run,) = rig.ended(1)
    assert (run.state, run.error_code) == ("failed", "deadline-exceeded")
    rig.stop(child)


def test_ten_seconds_after_the_windows_end_the_snapshot_is_gone(rig: JobsRig) -> None:
    now = rig.workspace.clock.now()
    closes = now + timedelta(seconds=8)
    window = f"{(now - timedelta(hours=1)):%H:%M}-{closes:%H:%M:%S}"
    child = reading(rig, schedule={"window": window})
    rig.until(lambda: rig.workspace.clock.now() >= closes, "the window closes")
    assert seconds_until_gone(rig) < PROMISED_SECONDS
    (run,) = rig.ended(1)
    assert (run.state, run.error_code) == ("failed", "window-closed")
    rig.stop(child)
