"""Restores and verifications as runs: queued by one process, executed by a worker, seen by people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from fixtures_jobs import MIB, JobsRig
from vbm.catalog.restore_points import PointRecord
from vbm.catalog.runs import RunRecord
from vbm.clock import SystemClock
from vbm.ids import RestorePointId
from vbm.lab.machine import Machine
from vbm.objectstore.local import LocalStore
from vbm.repository.pack import list_packs
from vbm.repository.verdicts import Verdict, verdicts
from vbm.services import jobs, point_runs, points, runs
from vbm.services.documents import point_document, run_document
from vbm.vsphere.restore_spec import RestoreSpec

SIZE = 48 * MIB


@dataclass
class Scene:
    """A worker, a VM, its restore point and what that holds."""

    rig: JobsRig
    machine: Machine
    content: bytes
    point: PointRecord

    def ended(self, run: RunRecord) -> RunRecord:
        known = len(self.rig.runs(limit=1000))
        found = {each.id: each for each in self.rig.ended(known, 30)}
        return found[run.id]

    def named(self, name: str) -> list[Machine]:
        return [machine for machine in self.rig.lab.state.machines.values() if machine.name == name]

    def remembered(self) -> Verdict:
        """By the repository itself."""
        with closing(LocalStore(self.rig.folder / "repository")) as store:
            return verdicts(store)[RestorePointId(self.point.id)]

    def verified(self) -> dict[str, object] | None:
        """By the catalog."""
        found: dict[str, object] | None = point_document(points.get(self.rig.workspace, self.point.id))[
            "verified"
        ]
        return found


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    rig = JobsRig(tmp_path_factory.mktemp("kinds"))
    machine = rig.machine("web01", SIZE)
    content = machine.guest_read(0, 0, SIZE)
    rig.job()
    child = rig.worker()
    jobs.run_now(rig.workspace, "nightly")
    (run,) = rig.ended(1)
    yield Scene(rig, machine, content, points.get(rig.workspace, run.restore_point_id))
    rig.stop(child)
    rig.close()


def test_a_vm_is_restored_as_a_new_one(scene: Scene) -> None:
    spec = RestoreSpec(name="again", power_on=True)
    run = point_runs.restore(scene.rig.workspace, scene.point, "lab", spec)
    assert (run.state, run.kind, run.job_id) == ("queued", "restore", "")
    ended = scene.ended(run)
    assert (ended.state, ended.phase, ended.warnings) == ("succeeded", "done", ()), ended
    (made,) = scene.named("again")
    assert made.guest_read(0, 0, SIZE) == scene.content
    assert made.power_state == "poweredOn"
    document = run_document(ended)
    assert (document["kind"], document["job_id"]) == ("restore", None)
    assert document["parameters"]["name"] == "again"
    assert document["result"]["moref"] == made.moref
    assert document["restore_point_id"] == scene.point.id
    assert ended.bytes_done == ended.bytes_total > 0


def test_a_restore_that_is_refused_fails_with_the_reason(scene: Scene) -> None:
    before = len(scene.rig.lab.state.machines)
    run = point_runs.restore(scene.rig.workspace, scene.point, "lab", RestoreSpec(name="web01"))
    ended = scene.ended(run)
    assert (ended.state, ended.error_code, ended.attempts) == ("failed", "vm-name-taken", 1)
    assert len(scene.rig.lab.state.machines) == before


def test_a_restore_to_a_host_that_takes_nothing_is_cancelled_and_leaves_nothing(scene: Scene) -> None:
    rig, before = scene.rig, len(scene.rig.lab.state.machines)
    rig.lab.fault("/nfc delay=60 count=1")
    run = point_runs.restore(rig.workspace, scene.point, "lab", RestoreSpec(name="never"))
    rig.until(lambda: runs.get(rig.workspace, run.id).bytes_done > 0, "it sends", 20)
    clock = SystemClock()
    asked = clock.monotonic()
    runs.cancel(rig.workspace, run.id)
    ended = scene.ended(run)
    assert clock.monotonic() - asked < 6  # two seconds, and a busy machine
    assert (ended.state, ended.error_code) == ("cancelled", "cancelled")
    assert len(rig.lab.state.machines) == before


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_a_restore_point_is_verified_and_that_is_remembered(scene: Scene, mode: point_runs.Mode) -> None:
    run = point_runs.verify(scene.rig.workspace, scene.point, mode)
    ended = scene.ended(run)
    assert (ended.kind, ended.state) == ("verify", "succeeded"), ended
    assert ended.result["chunks_checked"] > 0
    assert (ended.result["bytes_checked"] > 0) == (mode == "full")
    verified = scene.verified()
    assert verified is not None
    assert (verified["mode"], verified["good"]) == (mode, True)
    assert (scene.remembered().mode, scene.remembered().good) == (mode, True)
    assert points.summaries(scene.rig.workspace)[0].verified == 1


def test_a_vm_is_restored_in_place(scene: Scene) -> None:
    scene.machine.guest_write(0, 0, b"\1" * MIB)
    scene.machine.power_off()
    before = len(scene.rig.lab.state.machines)
    run = point_runs.restore(scene.rig.workspace, scene.point, "", RestoreSpec(in_place=True))
    ended = scene.ended(run)
    assert ended.state == "succeeded", ended
    assert scene.machine.guest_read(0, 0, SIZE) == scene.content
    assert len(scene.rig.lab.state.machines) == before


def test_damage_fails_the_verification_and_is_remembered(scene: Scene) -> None:
    folder: Path = scene.rig.folder / "repository"
    with closing(LocalStore(folder)) as store:
        pack = max(list_packs(store), key=lambda found: found[1])[0]
    (file,) = folder.rglob(pack)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.chmod(0o600)
    file.write_bytes(data)
    ended = scene.ended(point_runs.verify(scene.rig.workspace, scene.point))
    assert (ended.state, ended.error_code, ended.attempts) == ("failed", "damage-found", 1), ended
    assert ended.result["damage_count"] >= 1
    assert scene.point.id in ended.error_message
    verified = scene.verified()
    assert verified is not None
    assert (verified["mode"], verified["good"]) == ("full", False)
    assert not scene.remembered().good
    assert points.summaries(scene.rig.workspace)[0].verified == 0
