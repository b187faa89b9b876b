"""kill -9 in the middle of a restore: the next worker, or the next command, leaves a whole VM or none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures_jobs import MIB, JobsRig
from fixtures_postgresql import postgresql
from vbm.catalog.half_made import forget_half_made, half_made
from vbm.catalog.restore_points import PointRecord
from vbm.engine.restore_ledger import RestoreLedger
from vbm.lab.machine import Machine
from vbm.services import jobs, point_runs, points
from vbm.vsphere.restore_spec import RestoreSpec

SIZE = 4 * MIB
COMMON = ("restore.begin", "phase.connecting", "making.begun", "making.leased", "making.made", "advance")
AS_NEW = (
    *COMMON,
    "making.whole",
    "making.done",
    "making.over",
    "phase.done",
    "restore.end",
    "finish.begin",
    "finish.end",
)
IN_PLACE = (
    *COMMON,
    "making.loose",
    "making.exchanging",
    "making.done",
    "making.over",
    "restore.end",
    "finish.begin",
)


class Scene:
    """A VM, its restore point, and what lies on the datastore when nothing is half made."""

    def __init__(self, folder: Path, database_url: str = "") -> None:
        self.rig = JobsRig(folder, database_url)
        self.machine = self.rig.machine("web01", SIZE)
        self.content = self.machine.guest_read(0, 0, SIZE)
        self.rig.job()
        child = self.rig.worker("ttl=4")
        jobs.run_now(self.rig.workspace, "nightly")
        (run,) = self.rig.ended(1)
        self.rig.stop(child)
        self.point: PointRecord = points.get(self.rig.workspace, run.restore_point_id)
        self.machine.power_off()

    def folders(self) -> list[str]:
        return sorted(p.name for p in self.rig.lab.state.datastore("datastore1").root.iterdir())

    def named(self, name: str) -> list[Machine]:
        return [machine for machine in self.rig.lab.state.machines.values() if machine.name == name]

    def written_down_no_more(self, point: str) -> None:
        """Killed before it was known whether vSphere was asked, it is looked for a while longer."""
        with self.rig.workspace.catalog.writing() as session:
            left = half_made(session)
            for record in left:
                forget_half_made(session, record.id)
        stages = [(record.document["stage"], record.released) for record in left]
        assert stages == ([("begun", True)] if point == "making.begun" else []), point

    def survives(self, point: str, spec: RestoreSpec, after: int = 1) -> None:
        """The restore whose worker is killed there is ended by the next one; nothing else is left or lost."""
        rig, before = self.rig, self.folders()
        known = len(rig.runs(limit=1000))
        if spec.in_place:
            self.machine.guest_write(0, 0, b"\1" * MIB)
        point_runs.restore(rig.workspace, self.point, "lab", spec)
        child = rig.worker(f"kill={point}", f"after={after}", "ttl=4", ready=False)
        child.wait(60)
        assert child.returncode == -9, rig.log()
        second = rig.worker("ttl=4")
        run = rig.ended(known + 1)[0]
        rig.stop(second)
        assert (run.state, run.warnings) == ("succeeded", ()), (point, run, rig.log())
        self.written_down_no_more(point)
        if spec.in_place:
            assert (self.machine.power_state == "poweredOn") == spec.power_on
            if spec.power_on:
                self.machine.power_off()
            (disk,) = self.machine.disks
            assert self.machine.guest_read(0, 0, SIZE) == self.content, point
            store = self.rig.lab.state.resolve(self.machine.vmx_path).parent
            flat = disk.file_name.rpartition("/")[2].removesuffix(".vmdk") + "-flat.vmdk"
            assert [p.name for p in store.glob("*-flat.vmdk")] == [flat], point
        else:
            (made,) = self.named(spec.name)
            assert made.guest_read(0, 0, SIZE) == self.content, point
            assert "vbm.restore" not in made.config.extra_config
            assert (made.power_state == "poweredOn") == spec.power_on
            if spec.power_on:
                made.power_off()
            rig.lab.state.destroy(made.moref)
        assert [m.name for m in rig.lab.state.machines.values()] == ["web01"], point
        assert self.folders() == before, point


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("restore-kill"))
    yield made
    made.rig.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    if request.param == "sqlite":
        made = Scene(tmp_path)
        yield made
        made.rig.close()
        return
    with postgresql() as server:
        server.run("createdb", "-h", server.folder, "-U", "vbm", "kills")
        made = Scene(tmp_path, server.url.format("kills"))
        yield made
        made.rig.close()


def test_a_restore_as_new_vm_survives_where_it_matters_most(scene: Scene) -> None:
    scene.survives("making.done", RestoreSpec(name="again"))


def test_a_restore_in_place_survives_where_it_matters_most(scene: Scene) -> None:
    scene.survives("making.loose", RestoreSpec(in_place=True), after=2)


def test_a_lease_that_outlives_its_process_is_waited_for(scene: Scene) -> None:
    scene.rig.lab.behaviour.lease_timeout_seconds = 3
    scene.rig.lab.fault("HttpNfcLeaseAbort fault=InvalidState count=3")
    scene.survives("advance", RestoreSpec(name="again"))
    scene.rig.lab.context.rules.clear()


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_restore_as_new_vm_survives_everywhere(either: Scene) -> None:
    for point in AS_NEW:
        either.survives(point, RestoreSpec(name="again", power_on=True))


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_restore_in_place_survives_everywhere(either: Scene) -> None:
    for point in IN_PLACE:
        for after in (1, 2) if point == "making.loose" else (1,):
            either.survives(point, RestoreSpec(in_place=True, power_on=True), after)


def test_what_a_killed_command_has_half_made_is_removed_by_the_next(scene: Scene) -> None:
    rig, before = scene.rig, scene.folders()
    ledger = RestoreLedger(rig.home)
    rig.lab.fault("/nfc delay=60 count=1")
    words = f"-m vbm restore vm {scene.point.id} --vcenter lab --name byhand"
    command = [sys.executable, *words.split()]
    quiet = subprocess.DEVNULL
    first = subprocess.Popen(command, env=rig.environment, stderr=quiet, stdout=quiet)
    rig.children.append(first)

    def is_sending() -> bool:
        files = (rig.home / "ledger" / "restores").glob("*.json")
        return any('"stage": "made"' in file.read_text() for file in files)

    rig.until(is_sending, "the VM is being made", 20)
    assert [machine.power_state for machine in scene.named("byhand")] == ["poweredOff"]
    assert ledger.leftovers("lab") == []
    first.kill()
    first.wait()
    assert [half.name for half in ledger.leftovers("lab")] == ["byhand"]
    rig.lab.context.rules.clear()
    stranger = rig.machine("byhand-2", MIB)
    second = subprocess.run([*command[:-1], "other"], env=rig.environment, capture_output=True, check=False)
    assert second.returncode == 0, second.stderr
    assert b"removed what an interrupted restore had made of byhand" in second.stderr
    (other,) = scene.named("other")
    assert other.guest_read(0, 0, SIZE) == scene.content
    assert scene.named("byhand") == []
    assert scene.named("byhand-2") == [stranger]
    assert ledger.leftovers("lab") == []
    stranger.power_off()
    for machine in (other, stranger):
        rig.lab.state.destroy(machine.moref)
    assert scene.folders() == before
