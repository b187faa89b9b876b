"""Restores and verifications as runs: queued by one process, executed by a worker, seen by people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fixtures_jobs import MIB, JobsRig
from vbm.catalog.restore_points import PointRecord
from vbm.lab.machine import Machine
from vbm.objectstore.local import LocalStore
from vbm.repository.pack import list_packs
from vbm.services import jobs, point_runs, points, runs
from vbm.services.documents import point_document, run_document
from vbm.vsphere.restore_spec import RestoreSpec

SIZE = 4 * MIB


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JobsRig]:
    made = JobsRig(tmp_path)
    yield made
    made.close()


def backed_up(rig: JobsRig, size: int = SIZE) -> tuple[Machine, bytes, PointRecord]:
    """A VM, what its restore point holds, and that restore point; no worker is left."""
    machine = rig.machine("web01", size)
    content = machine.guest_read(0, 0, size)
    rig.job()
    child = rig.worker()
    jobs.run_now(rig.workspace, "nightly")
    (run,) = rig.ended(1)
    rig.stop(child)
    return machine, content, points.get(rig.workspace, run.restore_point_id)


def named(rig: JobsRig, name: str) -> list[Machine]:
    return [machine for machine in rig.lab.state.machines.values() if machine.name == name]


def test_a_vm_is_restored_as_a_new_one(rig: JobsRig) -> None:
    _, content, point = backed_up(rig)
    run = point_runs.restore(rig.workspace, point, "lab", RestoreSpec(name="again", power_on=True))
    assert (run.state, run.kind, run.job_id) == ("queued", "restore", "")
    child = rig.worker()
    ended = rig.ended(2)[0]
    rig.stop(child)
    assert (ended.id, ended.state, ended.phase) == (run.id, "succeeded", "done"), ended
    (made,) = named(rig, "again")
    assert made.guest_read(0, 0, SIZE) == content
    assert made.power_state == "poweredOn"
    document = run_document(ended)
    assert (document["kind"], document["job_id"], document["parameters"]["name"]) == (
        "restore",
        None,
        "again",
    )
    assert document["result"]["moref"] == made.moref
    assert document["restore_point_id"] == point.id
    assert ended.bytes_done == ended.bytes_total > 0


def test_a_vm_is_restored_in_place(rig: JobsRig) -> None:
    machine, content, point = backed_up(rig)
    machine.guest_write(0, 0, b"\1" * MIB)
    machine.power_off()
    point_runs.restore(rig.workspace, point, "", RestoreSpec(in_place=True))
    child = rig.worker()
    ended = rig.ended(2)[0]
    rig.stop(child)
    assert ended.state == "succeeded", ended
    assert machine.guest_read(0, 0, SIZE) == content
    assert len(rig.lab.state.machines) == 1


def test_a_restore_that_is_refused_fails_with_the_reason(rig: JobsRig) -> None:
    machine, _, point = backed_up(rig)
    point_runs.restore(rig.workspace, point, "lab", RestoreSpec(name=machine.name))
    child = rig.worker()
    ended = rig.ended(2)[0]
    rig.stop(child)
    assert (ended.state, ended.error_code, ended.attempts) == ("failed", "vm-name-taken", 1)
    assert len(rig.lab.state.machines) == 1


def test_a_restore_is_cancelled_while_it_sends_and_leaves_nothing(rig: JobsRig) -> None:
    _, _, point = backed_up(rig, 48 * MIB)
    rig.lab.fault("/nfc delay=60 count=1")
    run = point_runs.restore(rig.workspace, point, "lab", RestoreSpec(name="again"))
    child = rig.worker()
    rig.until(lambda: runs.get(rig.workspace, run.id).phase == "downloading", "it sends")
    runs.cancel(rig.workspace, run.id)
    ended = rig.ended(2, 15)[0]
    assert (ended.state, ended.error_code) == ("cancelled", "cancelled")
    rig.until(lambda: len(rig.lab.state.machines) == 1, "the half-made VM is gone", 10)
    rig.stop(child)


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_a_restore_point_is_verified_and_that_is_remembered(rig: JobsRig, mode: point_runs.Mode) -> None:
    _, _, point = backed_up(rig)
    assert point_document(point)["verified"] is None
    run = point_runs.verify(rig.workspace, point, mode)
    child = rig.worker()
    ended = rig.ended(2)[0]
    rig.stop(child)
    assert (ended.id, ended.kind, ended.state) == (run.id, "verify", "succeeded"), ended
    assert ended.result["chunks_checked"] > 0
    assert (ended.result["bytes_checked"] > 0) == (mode == "full")
    verified = point_document(points.get(rig.workspace, point.id))["verified"]
    assert (verified["mode"], verified["good"]) == (mode, True)
    assert points.summaries(rig.workspace)[0].verified == 1


def test_damage_fails_the_verification_and_is_remembered(rig: JobsRig) -> None:
    _, _, point = backed_up(rig)
    with closing(LocalStore(rig.folder / "repository")) as store:
        pack = max(list_packs(store), key=lambda found: found[1])[0]
    (file,) = (rig.folder / "repository").rglob(pack)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.chmod(0o600)
    file.write_bytes(data)
    point_runs.verify(rig.workspace, point)
    child = rig.worker()
    ended = rig.ended(2)[0]
    rig.stop(child)
    assert (ended.state, ended.error_code, ended.attempts) == ("failed", "damage-found", 1), ended
    assert ended.result["damage_count"] >= 1
    assert point.id in ended.error_message
    verified = point_document(points.get(rig.workspace, point.id))["verified"]
    assert (verified["mode"], verified["good"]) == ("full", False)
    assert points.summaries(rig.workspace)[0].verified == 0
