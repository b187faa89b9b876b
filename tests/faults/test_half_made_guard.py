"""What restores have left half made: found by its mark, removed once its run is over; nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fixtures_jobs import MIB, JobsRig
from vbm.cancel import CancelToken
from vbm.catalog.channels import all_channels
from vbm.catalog.deliveries import due_deliveries
from vbm.catalog.half_made import HalfMadeRecord, change_half_made, half_made, put_half_made
from vbm.catalog.restore_points import PointRecord
from vbm.catalog.runs import RunRow
from vbm.clock import SystemClock, VirtualClock, rfc3339
from vbm.engine.restore_vm import restore_vm
from vbm.engine.sweep_restores import settle
from vbm.errors import VbmError
from vbm.ids import RestorePointId
from vbm.lab.machine import Machine
from vbm.lab.model import DiskSpec, MachineSpec
from vbm.progress import Silent
from vbm.services import backup, channels, point_runs, repositories, vcenters
from vbm.services.backup import BackupOrder
from vbm.services.channels import NewChannel
from vbm.services.doors import WorkspaceDoors
from vbm.services.workspace import Workspace
from vbm.vsphere import half_made as vsphere
from vbm.vsphere.making import MARK, HalfMade
from vbm.vsphere.properties import Wanted
from vbm.vsphere.restore_spec import RestoreSpec
from vbm.vsphere.session import Session
from vbm.workflows.half_made_guard import HalfMadeGuard


class Scene:
    """A lab, and a restore run that is queued for ever."""

    def __init__(self, folder: Path) -> None:
        self.rig = JobsRig(folder)
        self.clock = VirtualClock(SystemClock().now())
        self.workspace = Workspace(self.rig.workspace.settings, clock=self.clock)
        self.guard = HalfMadeGuard(WorkspaceDoors(self.workspace))
        self.vcenter = vcenters.get(self.workspace, "lab")
        now = self.clock.now()
        store = repositories.get(self.workspace, "main").id
        point = PointRecord("p", store, "u", "web01", "lab", now, now, "full", "crash", 1, 1, "", "r")
        self.run = point_runs.restore(self.workspace, point, "lab", RestoreSpec(name="x"))

    def close(self) -> None:
        self.workspace.close()
        self.rig.close()

    def machine(self, name: str, mark: str = "") -> Machine:
        settings = {MARK: mark} if mark else {}
        spec = MachineSpec(name=name, disks=(DiskSpec(MIB),), extra_config=settings)
        return self.rig.lab.state.create_machine(spec)

    def write_down(self, half: HalfMade, *, released: bool = True) -> None:
        record = HalfMadeRecord(
            half.mark, self.run.id, self.vcenter.id, half.to_document(), self.clock.now(), released
        )
        with self.workspace.catalog.writing() as session:
            put_half_made(session, record)
            change_half_made(session, half.mark, {"released": released})

    def half(self, mark: str, name: str, **known: object) -> HalfMade:
        made = HalfMade(mark, name, "lab", self.vcenter.instance_uuid, rfc3339(self.clock.now()))
        return replace(made, **known)  # type: ignore[arg-type]

    def names(self) -> list[str]:
        return sorted(machine.name for machine in self.rig.lab.state.machines.values())

    def left(self) -> list[str]:
        with self.workspace.catalog.reading() as session:
            return [record.id for record in half_made(session)]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


def test_only_what_bears_the_mark_is_removed(scene: Scene) -> None:
    """Neither a VM of that name, nor one of that reference, is ours without it."""
    scene.machine("by-name")
    other = scene.machine("by-reference", "vbm-restore-another")
    scene.machine("ours", "m-3")
    known = scene.machine("ours too", "m-4")
    for half in (
        scene.half("m-1", "by-name", stage="leased"),
        scene.half("m-2", "x", stage="made", moref=other.moref),
        scene.half("m-3", "ours", stage="leased"),
        scene.half("m-4", "ours too", stage="made", moref=known.moref),
    ):
        scene.write_down(half)
    gone = scene.guard.look()
    assert scene.names() == ["by-name", "by-reference"]
    assert sorted(gone) == ["m-2", "m-3", "m-4"]
    assert scene.left() == ["m-1"]  # it might still be made


def test_one_that_goes_while_it_is_looked_for_is_gone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """An aborted lease removes its VM at the server's leisure, after it was listed too."""
    leaving = scene.machine("leaving", "m-1")
    listing = vsphere.collect

    def list_and_lose(session: Session, wanted: Wanted) -> list[tuple[Any, dict[str, Any]]]:
        found = list(listing(session, wanted))
        scene.rig.lab.state.destroy(leaving.moref)
        return found

    monkeypatch.setattr(vsphere, "collect", list_and_lose)
    with vcenters.connect(scene.workspace, "lab") as session:
        assert vsphere.find(session, scene.half("m-1", "leaving", stage="leased")) == ""


def test_what_might_still_be_made_is_looked_for_for_a_while(scene: Scene) -> None:
    scene.write_down(scene.half("m-1", "late"))
    assert scene.guard.look() == []
    scene.machine("late", "m-1")
    assert scene.guard.look() == []  # not so soon again
    scene.clock.advance(60)
    assert scene.guard.look() == ["m-1"]
    assert scene.names() == []
    before = rfc3339(scene.clock.now() - timedelta(hours=1))
    scene.write_down(replace(scene.half("m-2", "never"), created=before))
    assert scene.guard.look() == ["m-2"]


def test_what_a_live_run_makes_is_left_alone_until_the_run_has_ended(scene: Scene) -> None:
    made = scene.machine("being made", "m-1")
    scene.write_down(scene.half("m-1", "being made", stage="made", moref=made.moref), released=False)
    assert scene.guard.look() == []
    assert scene.names() == ["being made"]
    with scene.workspace.catalog.writing() as session:
        row = session.get(RunRow, scene.run.id)
        assert row is not None
        row.state = "failed"
    assert scene.guard.look() == ["m-1"]
    assert scene.names() == []


def test_a_vm_that_was_whole_stays_without_its_mark(scene: Scene) -> None:
    whole = scene.machine("whole", "m-1")
    scene.write_down(scene.half("m-1", "whole", stage="whole", moref=whole.moref))
    assert scene.guard.look() == ["m-1"]
    assert scene.names() == ["whole"]
    assert MARK not in whole.config.extra_config


def test_one_that_can_not_be_removed_is_tried_again_and_people_are_told_once_a_day(scene: Scene) -> None:
    channels.add(scene.workspace, NewChannel("ops", "https://127.0.0.1:9/", "webhook", events=("warning",)))
    stuck = scene.machine("stuck", "m-1")
    scene.write_down(scene.half("m-1", "stuck", stage="made", moref=stuck.moref))
    scene.rig.lab.fault("Destroy_Task object=stuck fault=ResourceInUse count=4")
    for _ in range(4):
        scene.clock.advance(3600)
        assert scene.guard.look() == []
    with scene.workspace.catalog.reading() as session:
        (record,) = half_made(session)
        told = [d.event for d in due_deliveries(session, scene.clock.now())]
        assert len(all_channels(session)) == 1
    assert record.tries == 4
    assert "ResourceInUse" in record.last_error
    assert [event["about"] for event in told] == ["m-1"]
    assert "half-made VM stuck" in told[0]["message"]
    scene.clock.advance(3600)
    assert scene.guard.look() == ["m-1"]
    assert scene.names() == []


class Watching:
    """Traces that look for the VM by its mark alone at each stage, and die at one."""

    def __init__(self, scene: Scene, die_at: str) -> None:
        self.session = vcenters.connect(scene.workspace, "lab")
        self.die_at = die_at
        self.found: dict[str, str] = {}
        self.last: HalfMade | None = None
        self.forgotten: list[str] = []

    def save(self, half: HalfMade) -> None:
        self.last = half
        self.found[half.stage] = vsphere.find(self.session, replace(half, moref=""))
        if half.stage == self.die_at:
            raise VbmError(f"the database is away at {half.stage}")

    def forget(self, mark: str) -> None:
        self.forgotten.append(mark)

    def done(self, half: HalfMade) -> None:
        self.save(half)

    def release(self, mark: str) -> None:
        pass

    def own(self) -> list[HalfMade]:
        return []


@pytest.mark.parametrize(("method", "die_at"), [("nfc", "whole"), ("upload", "made")])
def test_a_vm_bears_its_mark_while_it_is_made_and_what_fails_is_undone(
    scene: Scene, method: str, die_at: str
) -> None:
    scene.rig.machine("web01", MIB)
    point = backup.run(scene.workspace, BackupOrder("web01", "main"), Silent(), CancelToken()).restore_point
    spec = RestoreSpec(name="again", method="upload" if method == "upload" else "nfc")
    traces = Watching(scene, "")
    record = repositories.get(scene.workspace, "main")
    before = sorted(p.name for p in scene.rig.lab.state.datastore("datastore1").root.iterdir())
    with closing(repositories.open_stored(scene.workspace, record)) as repository, traces.session as session:

        def restore(watching: Watching, name: str) -> str:
            wishes = replace(spec, name=name)
            done = restore_vm(session, repository, RestorePointId(point), wishes, traces=watching)
            return done.moref

        moref = restore(traces, "again")
        assert traces.found["made"] == traces.found["whole"] == moref
        assert traces.found["done"] == ""
        assert traces.forgotten == []
        dying = Watching(scene, die_at)
        with pytest.raises(VbmError, match="database is away"):
            restore(dying, "never")
        dying.session.close()
        assert dying.last is not None
        became = settle(session, dying.last, Silent(), waits=vsphere.ONCE, by_run=True)
        assert became == ("whole" if die_at == "whole" else "gone")
        names = ["again", "never", "web01"] if became == "whole" else ["again", "web01"]
        assert scene.names() == names
        scene.rig.lab.state.destroy(moref)
    if became == "gone":
        assert sorted(p.name for p in scene.rig.lab.state.datastore("datastore1").root.iterdir()) == before
