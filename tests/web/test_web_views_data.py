"""What pages are told of VMs, restore points and restores, in a home with real backups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from fixtures_pages import HOSTILE, PagesRig
from vbm.catalog.errors import UnknownNameError
from vbm.catalog.restore_points import PointFilter
from vbm.policy.scope import Scope
from vbm.security.roles import Role
from vbm.services import (
    condition,
    fleet,
    identity,
    points,
    preferences,
    restore_choices,
    sign_in,
    trail,
    vcenters,
)
from vbm.services.fleet import Wanted
from vbm.services.identity import Identity
from vbm.services.trail import AuditFilter
from vbm.vsphere.restore_spec import RestoreSpec


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagesRig]:
    made = PagesRig(tmp_path_factory.mktemp("pages"))
    yield made
    made.close()


def names(rig: PagesRig, **wanted: object) -> list[str]:
    found = fleet.fleet(rig.workspace, Wanted(**wanted))  # type: ignore[arg-type]
    return [row.machine.vm.name for row in found.rows]


def test_the_fleet_is_filtered_by_what_people_worry_about(rig: PagesRig) -> None:
    assert names(rig) == [HOSTILE, "db01", "half", "web01"]
    assert names(rig, show="unprotected") == ["half"]
    assert names(rig, show="jobless") == ["half"]
    assert names(rig, show="failing") == []
    assert names(rig, search="WEB") == ["web01"]
    assert names(rig, older_days=1) == ["half"]
    assert names(rig, vcenter="elsewhere") == []
    assert names(rig, order="oldest")[0] == "half"
    assert set(names(rig, page=99)) == set(names(rig))


def test_the_fleet_counts_and_draws_its_tree(rig: PagesRig) -> None:
    found = fleet.fleet(rig.workspace, Wanted(search="nothing has this name"))
    assert (found.matching, found.pages) == (0, 1)
    assert found.counts == {"all": 4, "unprotected": 1, "failing": 0, "jobless": 1}
    assert next((b.name, b.depth, b.machines) for b in found.tree) == ("lab", 0, 4)


def test_a_row_says_what_is_the_matter(rig: PagesRig) -> None:
    row = fleet.one(rig.workspace, "half")
    assert (row.state, row.next_run, row.failed) == ("unprotected", None, None)
    assert row.chips == ("no job", "disk left out")
    web = fleet.one(rig.workspace, "web01")
    assert (web.state, web.failed) == ("protected", None)
    assert web.next_run is not None
    assert [job.name for job in fleet.jobs_of(rig.workspace, web.machine)] == ["nightly"]


def test_restore_points_are_summed_by_vm(rig: PagesRig) -> None:
    found = points.summaries(rig.workspace)
    assert [(s.vm_name, s.count, s.pinned, s.verified) for s in found] == [
        (HOSTILE, 1, 0, 0),
        ("db01", 1, 0, 0),
        ("web01", 1, 0, 0),
    ]
    assert all(s.new_bytes > 0 and s.oldest == s.newest for s in found)
    with identity.acting(Identity("otto", Role.OPERATOR, scope=_elsewhere())):
        assert points.summaries(rig.workspace) == []


def _elsewhere() -> Scope:
    return Scope.of(["another"])


def test_what_a_deletion_frees_is_told_before(rig: PagesRig) -> None:
    record = points.listing(rig.workspace, PointFilter(vm="web01"))[0]
    freed = points.freed_bytes(rig.workspace, record)
    assert 0 < freed <= record.new_bytes
    assert points.listing(rig.workspace, PointFilter(vm="web01")) == [record]


def test_a_restore_says_which_ways_there_are_and_why_not(rig: PagesRig) -> None:
    found = restore_choices.source(rig.workspace, points.listing(rig.workspace, PointFilter(vm="db01"))[0].id)
    reasons = {way.key: way.reason for way in restore_choices.ways(found)}
    assert reasons["new"] == ""
    assert reasons["in-place"] == "db01 is running: switch it off first"
    with identity.acting(Identity("otto", Role.OPERATOR)):
        ways = {way.key: way.reason for way in restore_choices.ways(found)}
    assert ways["in-place"] == "it overwrites a VM: only an administrator may"
    assert found.vm is not None
    off = replace(found, vm=replace(found.vm, power_state="poweredOff"))
    assert {way.key: way.reason for way in restore_choices.ways(off)}["in-place"] == ""


def test_a_restore_is_told_in_plain_words_and_checked(rig: PagesRig) -> None:
    found = restore_choices.source(rig.workspace, points.listing(rig.workspace, PointFilter(vm="db01"))[0].id)
    there = restore_choices.destinations(rig.workspace, "lab")
    store = there[0].datastores[0]
    assert store.reason == ""
    assert store.hosts
    assert there[0].networks
    spec = RestoreSpec(name="db01-restored", datastore=store.name, host=store.hosts[0])
    assert restore_choices.check(found, spec, there) == []
    told = " ".join(restore_choices.review(found, spec, "lab"))
    assert f"A new VM db01-restored is made on lab, on the datastore {store.name}" in told
    wrong = restore_choices.check(found, RestoreSpec(name="", datastore="nowhere"), there)
    assert [line.partition(":")[0] for line in wrong] == ["not a name for a VM", "The datastore nowhere"]
    told = " ".join(restore_choices.review(found, RestoreSpec(in_place=True, power_on=True), "lab"))
    assert "is lost" in told
    assert "It is switched on at the end." in told


def test_settings_are_changed_and_audited(rig: PagesRig) -> None:
    assert preferences.change(rig.workspace, {"max_runs": "5", "keep_runs_days": "400"}) == {"max_runs": 5}
    assert {s.name: s.value for s in preferences.listing(rig.workspace)}["max_runs"] == 5
    entry = trail.listing(rig.workspace, AuditFilter(action="settings", limit=1))[0]
    assert entry.detail == {"max_runs": 5}


def test_the_condition_names_the_lack_of_workers(rig: PagesRig) -> None:
    found = condition.condition(rig.workspace)
    workers = {check.name: check for check in found.checks}["Workers"]
    assert not workers.well
    assert "No worker is at work" in workers.said
    assert rig.lab.password not in repr(found)


def test_one_session_can_be_ended_and_only_ones_own(rig: PagesRig) -> None:
    anna, otto = rig.browser("anna"), rig.browser("otto")
    users = {name: sign_in.resumed(rig.workspace, _cookie(b)) for name, b in (("a", anna), ("o", otto))}
    a, o = users["a"], users["o"]
    assert a is not None
    assert o is not None
    with pytest.raises(UnknownNameError):
        sign_in.end_one(rig.workspace, a.user.id, o.session.id)
    sign_in.end_one(rig.workspace, a.user.id, a.session.id)
    assert sign_in.resumed(rig.workspace, _cookie(anna)) is None
    assert sign_in.resumed(rig.workspace, _cookie(otto)) is not None


def _cookie(browser: object) -> str:
    return str(browser.client.cookies["vbm_session"])  # type: ignore[attr-defined]


def test_adding_a_vcenter_is_in_the_trail(rig: PagesRig) -> None:
    assert vcenters.listing(rig.workspace)[0].created - rig.workspace.clock.now() < timedelta()
    actions = [e.action for e in trail.listing(rig.workspace, AuditFilter(limit=1000))]
    assert {"vcenter.add", "repository.add"} <= set(actions)
