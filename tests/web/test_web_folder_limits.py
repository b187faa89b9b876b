"""What somebody limited to a folder of VMs sees and may do, on a real lab: nothing of the folder beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from fixtures_jobs import MIB, JobsRig
from fixtures_pages import walk
from vbm.catalog.errors import UnknownNameError
from vbm.catalog.restore_points import PointFilter, PointRecord
from vbm.catalog.runs import RunFilter
from vbm.catalog.snapshots import SnapshotRecord, forget_snapshot, record_snapshot
from vbm.errors import NotFoundError
from vbm.lab.machine import Machine
from vbm.policy.scope import Scope
from vbm.security.roles import PermissionMissingError, Role
from vbm.services import (
    accounts,
    fleet,
    growth,
    identity,
    inventory_cache,
    job_views,
    jobs,
    live,
    overview,
    point_runs,
    points,
    protected,
    restore_choices,
    runs,
    sign_in,
)
from vbm.services.accounts import NewUser
from vbm.services.fleet import Wanted
from vbm.services.identity import Identity
from vbm.vsphere.restore_spec import RestoreSpec
from vbm.web.app import create_app
from vbm.web.options import WebOptions

SPEC = RestoreSpec(name="again")


class TenantsRig(JobsRig):
    """``web01`` in Tenants/Blue, its namesake's neighbour ``db01`` in Tenants/Blue2; one job backs up both."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        inventory_cache.forget()
        (datacenter,) = self.lab.state.datacenters.values()
        tenants = self.lab.state.create_folder(datacenter.vm_folder, "Tenants")
        self.placed: dict[str, Machine] = {}
        for name, tenant in (("web01", "Blue"), ("db01", "Blue2")):
            self.placed[name] = self.machine(name, MIB)
            self.placed[name].folder = self.lab.state.create_folder(tenants.moref, tenant).moref
        self.job("nightly", schedule={"cron": "0 3 * * *"})
        self.job("blue", selection={"folders": ["tenants/blue"]}, schedule={"cron": "0 4 * * *"})
        child = self.worker()
        jobs.run_now(self.workspace, "nightly")
        self.ended(2)
        self.stop(child)
        limits = (("lab", "Tenants/Blue"),)
        accounts.create(self.workspace, NewUser("lina", Role.ADMIN, "correct horse battery 7", (), limits))

    def browser(self) -> TestClient:
        """Lina, administrator of her folder."""
        begun = sign_in.begin(self.workspace, accounts.get(self.workspace, "lina"), "127.0.0.1", "tests")
        client = TestClient(create_app(self.workspace, WebOptions(allow_loopback=True)))
        client.cookies.set("vbm_session", begun.cookie)
        return client

    @contextmanager
    def tenant(self, *places: str, role: Role = Role.ADMIN) -> Iterator[Identity]:
        vcenter = self.vcenter_id
        scope = Scope.of(f"{vcenter}/{place}" for place in places or ("Tenants/Blue",))
        with identity.acting(Identity("blue", role, scope=scope)) as who:
            yield who

    @property
    def vcenter_id(self) -> str:
        return inventory_cache.everything(self.workspace)[0].vcenter.id

    def point(self, name: str) -> PointRecord:
        return points.listing(self.workspace, PointFilter(vm=name))[0]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TenantsRig]:
    made = TenantsRig(tmp_path_factory.mktemp("tenants"))
    yield made
    made.close()


def test_lists_and_sums_hold_the_own_folder_alone(rig: TenantsRig) -> None:
    space, now = rig.workspace, rig.workspace.clock.now()
    today = [(now - timedelta(days=1), now + timedelta(days=1))]
    queued = point_runs.verify(space, rig.point("db01"))
    assert live.live(space).queued == 1
    everything = runs.ends(space, today)[0]
    assert sum(everything.values()) == 2
    with rig.tenant():
        assert [m.vm.name for m in protected.machines(space)] == ["web01"]
        assert [row.machine.vm.name for row in fleet.fleet(space, Wanted()).rows] == ["web01"]
        assert [(b.path, b.machines) for b in fleet.fleet(space, Wanted()).tree][-1] == ("Tenants/Blue", 1)
        assert [run.vm_name for run in runs.visible(space, RunFilter())] == ["web01"]
        assert [run.vm_name for run in runs.visible_briefly(space, RunFilter())] == ["web01"]
        assert sum(runs.ends(space, today)[0].values()) == 1
        assert [point.vm_name for point in points.listing(space, PointFilter())] == ["web01"]
        assert [name for _, name, _ in points.owners(space)] == ["web01"]
        assert [summary.vm_name for summary in points.summaries(space)] == ["web01"]
        assert points.count(space, rig.point("web01").repository_id) == (1, 1)
        assert [vm["vm_name"] for vm in growth.document(space, 30)["vms"]] == ["web01"]
        assert live.live(space).queued == 0
        board = overview.dashboard(space)
        assert (board.machines, [run.vm_name for run in board.last_day]) == (1, ["web01"])
        assert [job.name for job in board.upcoming] == ["blue"]
    runs.cancel(space, queued.id)


def test_what_is_beside_it_is_as_if_it_were_not_there(rig: TenantsRig) -> None:
    space = rig.workspace
    (run,) = runs.visible(space, RunFilter(vm="db01", kinds=("backup",)))
    point, machine = rig.point("db01"), protected.machine(space, "db01")
    with rig.tenant():
        for ask in (
            lambda: runs.get(space, run.id),
            lambda: runs.cancel(space, run.id),
            lambda: points.get(space, point.id),
            lambda: restore_choices.source(space, point.id),
            lambda: protected.machine(space, "db01"),
            lambda: fleet.one(space, machine.vm.instance_uuid),
            lambda: jobs.get(space, "nightly"),
            lambda: jobs.run_now(space, "nightly", vms=["db01"]),
            lambda: jobs.update(space, "nightly", {"enabled": False}),
            lambda: jobs.delete(space, "nightly"),
        ):
            with pytest.raises((UnknownNameError, NotFoundError)):
                ask()
        assert protected.machine(space, "web01").jobs == ("blue",)


def test_snapshots_left_are_told_to_whom_the_vm_is(rig: TenantsRig) -> None:
    space, now = rig.workspace, rig.workspace.clock.now()
    for name in ("web01", "db01"):
        vm = protected.machine(space, name).vm
        record = SnapshotRecord(
            *(
                f"vbm-{name}",
                "r",
                "e",
                "nightly",
                rig.vcenter_id,
                "lab",
                "",
                vm.moref,
                vm.instance_uuid,
                name,
            ),
            *("main", now - timedelta(days=1), 60),
        )
        with space.catalog.writing() as session:
            record_snapshot(session, record)
    with rig.tenant():
        assert [left.vm_name for left in overview.dashboard(space).snapshots] == ["web01"]
    with space.catalog.writing() as session:
        for name in ("web01", "db01"):
            forget_snapshot(session, f"vbm-{name}")


def document(**selection: Any) -> dict[str, Any]:
    return {"name": "mine", "vcenter_id": "lab", "repository_id": "main", "selection": selection}


def test_jobs_select_within_the_folder_or_are_refused(rig: TenantsRig) -> None:
    space = rig.workspace
    with rig.tenant():
        assert [job.name for job in jobs.visible(space)] == ["blue"]
        for selection in ({"vms": ["*"]}, {"folders": ["Tenants"]}, {"folders": ["Tenants/Blue2"]}):
            with pytest.raises(PermissionMissingError):
                jobs.create(space, document(**selection))
            with pytest.raises(PermissionMissingError):
                jobs.update(space, "blue", {"selection": {"vms": [], "folders": []} | selection})
        preview = job_views.preview(space, document(folders=["Tenants"]))
        assert [vm.name for vm in preview.machines] == ["web01"]
        jobs.create(space, document(folders=["Tenants/Blue"]))
        jobs.delete(space, "mine")


def test_restores_go_into_the_folder_of_who_asks(rig: TenantsRig) -> None:
    space, point = rig.workspace, rig.point("web01")
    with rig.tenant(role=Role.OPERATOR):
        made = point_runs.restore(space, point, "", SPEC)
        assert made.parameters["folder"] == "Tenants/Blue"
        below = point_runs.restore(space, point, "lab", replace(SPEC, folder="Tenants/Blue/Old"))
        assert below.parameters["folder"] == "Tenants/Blue/Old"
        for folder in ("Tenants/Blue2", "Tenants", "/", "Elsewhere"):
            with pytest.raises(PermissionMissingError) as refused:
                point_runs.restore(space, point, "lab", replace(SPEC, folder=folder))
            assert folder in refused.value.message
        (there,) = restore_choices.destinations(space, "lab")
        assert there.folders == ("Tenants/Blue",)
        assert runs.get(space, made.id).vm_name == "web01"
    for record in (made, below):
        runs.cancel(space, record.id)


def test_pages_lead_nowhere_else_and_name_nothing_else(rig: TenantsRig) -> None:
    client = rig.browser()
    shapes, broken = walk(client)
    assert broken == []
    assert len(shapes) > 20
    for path in ("/", "/vms", "/runs", "/restore-points", "/storage", "/calendar", "/jobs", "/search?q=db01"):
        text = client.get(path, headers={"accept": "text/html"}).text
        assert "db01" not in text.replace('value="db01"', "").replace("“db01”", ""), path
        assert "nightly" not in text or path in {"/", "/runs"}, (
            path
        )  # the job's name is on the runs of her VM


def test_a_vm_that_is_moved_is_seen_by_whom_it_was_moved_to(rig: TenantsRig) -> None:
    space, machine = rig.workspace, rig.placed["web01"]
    before = machine.folder
    machine.folder = rig.placed["db01"].folder
    rig.lab.state.touch(machine.moref)
    inventory_cache.forget()
    with rig.tenant():
        assert protected.machines(space) == []
        assert points.listing(space, PointFilter()) == []
    with rig.tenant("tenants/BLUE2"):
        assert {point.vm_name for point in points.listing(space, PointFilter())} == {"db01", "web01"}
    machine.folder = before
    rig.lab.state.touch(machine.moref)
    inventory_cache.forget()
    with rig.tenant():
        assert [m.vm.name for m in protected.machines(space)] == ["web01"]
