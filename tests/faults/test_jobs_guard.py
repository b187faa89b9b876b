"""The snapshot guard against a lab that will not remove snapshots, with a real mail server and a real receiver."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

from fixtures_jobs import JobsRig
from vbm.cancel import CancelToken
from vbm.catalog.runs import RunRecord, RunRow, insert_runs
from vbm.catalog.snapshots import outstanding
from vbm.clock import SystemClock, VirtualClock, rfc3339
from vbm.engine.ledger import LedgerEntry
from vbm.engine.process import ProcessIdentity
from vbm.ids import RunId
from vbm.lab.machine import Machine
from vbm.policy.job import Job
from vbm.services import channels, repositories, vcenters
from vbm.services.channels import NewChannel
from vbm.services.doors import WorkspaceDoors
from vbm.services.workspace import Workspace
from vbm.vsphere import inventory, snapshots
from vbm.workflows.ledger import CatalogLedger
from vbm.workflows.outbox import send_due
from vbm.workflows.snapshot_guard import SnapshotGuard

HOUR = 3600.0


class Receivers:
    """A mail server and a webhook receiver on this machine."""

    def __init__(self) -> None:
        self.subjects: list[str] = []
        self.texts: list[str] = []
        self.posted: list[dict[str, object]] = []
        outer = self

        class Mail:
            async def handle_DATA(self, _server: object, _session: object, envelope: object) -> str:  # noqa: N802
                mail = message_from_bytes(envelope.content)  # type: ignore[attr-defined]
                outer.subjects.append(str(mail["Subject"]))
                parts = [p for p in mail.walk() if p.get_content_type() == "text/plain"]
                outer.texts.append(parts[0].get_payload(decode=True).decode())  # type: ignore[union-attr]
                return "250 OK"

        class Post(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.posted.append(json.loads(body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.smtp = Controller(Mail(), hostname="127.0.0.1", port=port)
        self.smtp.start()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Post)
        self._thread = threading.Thread(target=self.http.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.smtp.stop()
        self.http.shutdown()
        self.http.server_close()
        self._thread.join()

    @property
    def events(self) -> list[object]:
        return [body["event"] for body in self.posted]


class Scene:
    def __init__(self, folder: Path) -> None:
        self.rig = JobsRig(folder)
        self.clock = VirtualClock(SystemClock().now())
        self.workspace = Workspace(self.rig.workspace.settings, clock=self.clock)
        self.receivers = Receivers()
        mail = f"mailto://127.0.0.1:{self.receivers.smtp.port}/?from=vbm@example.org&to=ops@example.org"
        channels.add(self.workspace, NewChannel("mail", mail))
        hook = f"http://127.0.0.1:{self.receivers.http.server_port}/"
        channels.add(self.workspace, NewChannel("hook", hook, kind="webhook", secret="s"))
        self.doors = WorkspaceDoors(self.workspace)
        self.guard = SnapshotGuard(self.doors)

    def close(self) -> None:
        self.receivers.close()
        self.workspace.close()
        self.rig.close()

    def left(self, machine: Machine, state: str) -> str:
        """A snapshot of a run in that state, as a worker makes it."""
        now = self.clock.now()
        vcenter, repository = vcenters.get(self.workspace, "lab"), repositories.get(self.workspace, "main")
        document = Job.from_document(
            {
                "name": "nightly",
                "vcenter_id": vcenter.id,
                "repository_id": repository.id,
                "selection": {"vms": ["*"]},
            }
        ).to_document()
        run = RunRecord(
            id=f"run-{machine.name}",
            execution_id="e",
            job_id="j",
            job_name="nightly",
            vm_uuid=machine.instance_uuid,
            vm_name=machine.name,
            vcenter_id=vcenter.id,
            repository_id=repository.id,
            datastores=("ds1",),
            document=document,
            created=now,
            state=state,
        )
        with self.workspace.catalog.writing() as session:
            insert_runs(session, [run])
        name = f"vbm-{run.id}"
        with closing(self.doors.connect(vcenter.id)) as session:
            vm = inventory.find_vm(session, machine.name)
            entry = LedgerEntry(
                snapshot=name,
                vcenter="lab",
                vcenter_uuid=session.about["instance_uuid"],
                vm=vm.moref,
                vm_uuid=vm.instance_uuid,
                vm_name=vm.name,
                run_id=RunId(run.id),
                repository="r",
                created=rfc3339(now),
                process=ProcessIdentity.own(),
            )
            CatalogLedger(self.rig.home, self.workspace.catalog, self.clock, run).record(entry)
            snapshots.create(session, vm, name, "test", quiesce=False, cancel=CancelToken())
        return name

    def told(self) -> list[object]:
        """Send what is due; the events that the webhook has got so far."""
        send_due(self.doors)
        return self.receivers.events


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


def test_people_are_told_once_a_day_of_a_snapshot_that_stays_and_once_when_it_is_gone(scene: Scene) -> None:
    machine = scene.rig.machine("web01", 1 << 20)
    name = scene.left(machine, "failed")
    scene.rig.lab.rules.add("RemoveSnapshot_Task fault=GenericVmConfigFault")
    assert scene.guard.look().left == (name,)
    assert scene.told() == []
    scene.clock.advance(3 * HOUR)
    scene.guard.look()
    assert scene.told() == []
    scene.clock.advance(1.1 * HOUR)
    scene.guard.look()
    assert scene.told() == ["snapshot_left"]
    for _ in range(23):
        scene.clock.advance(HOUR)
        scene.guard.look()
    assert scene.told() == ["snapshot_left"]
    scene.clock.advance(HOUR)
    scene.guard.look()
    assert scene.told() == ["snapshot_left", "snapshot_left"]
    scene.rig.lab.rules.clear()
    scene.clock.advance(HOUR)
    assert scene.guard.quick().removed == (name,)
    scene.guard.report()
    assert scene.told() == ["snapshot_left", "snapshot_left", "snapshot_gone"]
    scene.clock.advance(30 * HOUR)
    scene.guard.look()
    assert scene.told() == ["snapshot_left", "snapshot_left", "snapshot_gone"]
    assert scene.rig.ours() == []
    subjects = scene.receivers.subjects
    assert ["left behind" in s for s in subjects] == [True, True, False]
    assert all("web01" in s for s in subjects)
    text = scene.receivers.texts[0]
    for word in ("web01", "nightly", "ds1", name, "vSphere Client", "tried"):
        assert word in text
    assert machine.name == "web01"


def test_nothing_is_removed_under_a_live_run_and_nothing_that_is_not_ours(scene: Scene) -> None:
    web, db = scene.rig.machine("web01", 1 << 20), scene.rig.machine("db01", 1 << 20)
    live = scene.left(web, "running")
    with closing(scene.doors.connect(vcenters.get(scene.workspace, "lab").id)) as session:
        vm = inventory.find_vm(session, "db01")
        snapshots.create(session, vm, "vbm-of-others", "theirs", quiesce=False, cancel=CancelToken())
    assert scene.guard.look().removed == ()
    assert sorted(scene.rig.ours()) == sorted([live, "vbm-of-others"])
    with scene.workspace.catalog.writing() as session:
        row = session.get(RunRow, "run-web01")
        assert row is not None
        row.state = "failed"
    assert scene.guard.look().removed == (live,)
    assert scene.rig.ours() == ["vbm-of-others"]
    assert db.name == "db01"


@pytest.mark.parametrize("state", ["failed", "running"])
def test_one_that_appears_after_it_was_crossed_out_is_removed_once_its_run_has_ended(
    scene: Scene, state: str
) -> None:
    name = scene.left(scene.rig.machine("web01", 1 << 20), state)
    CatalogLedger(scene.rig.home, scene.workspace.catalog, scene.clock).forget(name)
    ended = state == "failed"
    assert scene.guard.look().removed == ((name,) if ended else ())
    assert scene.rig.ours() == ([] if ended else [name])
    with scene.workspace.catalog.reading() as session:
        assert outstanding(session) == []


def test_a_snapshot_of_a_run_that_never_ends_is_told_of(scene: Scene) -> None:
    name = scene.left(scene.rig.machine("web01", 1 << 20), "running")
    scene.clock.advance(5 * HOUR)
    scene.guard.look()
    assert scene.told() == ["snapshot_left"]
    assert scene.rig.ours() == [name]


def test_people_are_told_when_the_vcenter_can_not_be_looked_at(scene: Scene) -> None:
    name = scene.left(scene.rig.machine("web01", 1 << 20), "failed")
    scene.rig.lab.stop()
    assert scene.guard.look().blind == ("lab",)
    assert scene.told() == ["warning"]
    assert "1 snapshots" in str(scene.receivers.posted[0]["message"])
    scene.clock.advance(5 * HOUR)
    scene.guard.look()
    assert "snapshot_left" in scene.told()
    with scene.workspace.catalog.reading() as session:
        assert [record.name for record in outstanding(session)] == [name]


def unconsolidated(scene: Scene, name: str) -> Machine:
    """A VM whose snapshot is gone and whose deltas are not."""
    machine = scene.rig.machine(name, 1 << 20)
    node = machine.take_snapshot("somebody's")
    machine.remove_snapshot(node.moref, fail_consolidation=True)
    assert machine.consolidation_needed
    return machine


def test_disks_that_need_consolidation_are_told_of_once_a_day(scene: Scene) -> None:
    machine = unconsolidated(scene, "db01")
    for _ in range(3):
        scene.guard.look()
        assert scene.told() == ["snapshot_left"]
        scene.clock.advance(HOUR)
    scene.clock.advance(24 * HOUR)
    scene.guard.look()
    assert scene.told() == ["snapshot_left"] * 2
    assert machine.consolidation_needed
    assert "need consolidation" in str(scene.receivers.posted[0]["message"])


def test_disks_that_our_backup_left_unconsolidated_are_consolidated(scene: Scene) -> None:
    machine = unconsolidated(scene, "web01")
    name = scene.left(machine, "running")
    scene.guard.look()
    assert machine.consolidation_needed  # a live run sees to it itself
    with scene.workspace.catalog.writing() as session:
        row = session.get(RunRow, "run-web01")
        assert row is not None
        row.state, row.finished, row.snapshot_state = "warning", scene.clock.now(), "removed"
    scene.rig.lab.rules.add("RemoveSnapshot_Task fault=GenericVmConfigFault")
    scene.rig.lab.rules.add("ConsolidateVMDisks_Task fault=GenericVmConfigFault count=1")
    scene.guard.look()
    assert scene.told() == ["snapshot_left"]
    scene.guard.look()
    assert not machine.consolidation_needed
    assert scene.told() == ["snapshot_left"]
    assert scene.rig.ours() == [name]


def test_one_pass_over_a_vcenter_finds_snapshots_and_needed_consolidations(scene: Scene) -> None:
    unconsolidated(scene, "web01")
    name = scene.left(scene.rig.machine("db01", 1 << 20), "failed")
    with closing(scene.doors.connect(vcenters.get(scene.workspace, "lab").id)) as session:
        found = snapshots.survey(session)
    assert [s.name for s in found.ours] == [name]
    assert [vm.vm_name for vm in found.unconsolidated] == ["web01"]
